// References of pooling. Max: the first of equal maxima wins, row by row (torch); average: padding counts as
// zeros.
#include <limits>

#include "tests/reference/reference.h"

namespace residuum::reference {
namespace {

PoolShape shape_of(const Shape& src, int64_t window, int64_t stride, int64_t pad) {
  return {.n = src[0], .h = src[1], .w = src[2], .c = src[3], .window = window, .stride = stride, .pad = pad};
}

/// Calls visit(dst index, src index, position in the window) for every source element under every window.
template <typename Visit>
void for_each_element(const PoolShape& shape, const Visit& visit) {
  for (int64_t n = 0; n < shape.n; ++n)
    for (int64_t p = 0; p < shape.p(); ++p)
      for (int64_t q = 0; q < shape.q(); ++q)
        for (int64_t c = 0; c < shape.c; ++c)
          for (int64_t r = 0; r < shape.window; ++r)
            for (int64_t s = 0; s < shape.window; ++s) {
              const int64_t h = p * shape.stride - shape.pad + r;
              const int64_t w = q * shape.stride - shape.pad + s;
              if (h < 0 || h >= shape.h || w < 0 || w >= shape.w) continue;
              visit(((n * shape.p() + p) * shape.q() + q) * shape.c + c,
                    ((n * shape.h + h) * shape.w + w) * shape.c + c, r * shape.window + s);
            }
}

}  // namespace

Tensors max_pool(const MaxPool& op, const Tensor& src) {
  const PoolShape shape = shape_of(src.shape, op.window, op.stride, op.pad);
  Tensor dst({shape.n, shape.p(), shape.q(), shape.c}), argmax(dst.shape);
  for (double& value : dst.data) value = -std::numeric_limits<double>::infinity();
  for_each_element(shape, [&](int64_t d, int64_t s, int64_t position) {
    if (src[s] <= dst[d]) return;
    dst[d] = src[s];
    argmax[d] = static_cast<double>(position);
  });
  return {dst, argmax};
}

Tensor max_pool_backward(const PoolShape& shape, const Tensor& d_dst, const Tensor& argmax) {
  Tensor d_src({shape.n, shape.h, shape.w, shape.c});
  for_each_element(shape, [&](int64_t d, int64_t s, int64_t position) {
    if (argmax[d] == static_cast<double>(position)) d_src[s] += d_dst[d];
  });
  return d_src;
}

Tensor avg_pool(const AvgPool& op, const Tensor& src) {
  const PoolShape shape = shape_of(src.shape, op.window, op.stride, op.pad);
  const auto area = static_cast<double>(op.window * op.window);
  Tensor dst({shape.n, shape.p(), shape.q(), shape.c});
  for_each_element(shape, [&](int64_t d, int64_t s, int64_t) { dst[d] += src[s] / area; });
  return dst;
}

Tensor avg_pool_backward(const PoolShape& shape, const Tensor& d_dst) {
  const auto area = static_cast<double>(shape.window * shape.window);
  Tensor d_src({shape.n, shape.h, shape.w, shape.c});
  for_each_element(shape, [&](int64_t d, int64_t s, int64_t) { d_src[s] += d_dst[d] / area; });
  return d_src;
}

Tensor global_avg_pool(const Tensor& src) {
  const Nhwc in = Nhwc::of(src.shape);
  Tensor dst({in.n, 1, 1, in.c});
  for (int64_t n = 0; n < in.n; ++n)
    for (int64_t h = 0; h < in.h; ++h)
      for (int64_t w = 0; w < in.w; ++w)
        for (int64_t c = 0; c < in.c; ++c)
          dst.at(n, 0, 0, c) += src.at(n, h, w, c) / static_cast<double>(in.h * in.w);
  return dst;
}

Tensor global_avg_pool_backward(const Tensor& d_dst, const Shape& src) {
  const Nhwc in = Nhwc::of(src);
  Tensor d_src(src);
  for (int64_t n = 0; n < in.n; ++n)
    for (int64_t h = 0; h < in.h; ++h)
      for (int64_t w = 0; w < in.w; ++w)
        for (int64_t c = 0; c < in.c; ++c)
          d_src.at(n, h, w, c) = d_dst.at(n, 0, 0, c) / static_cast<double>(in.h * in.w);
  return d_src;
}

}  // namespace residuum::reference
