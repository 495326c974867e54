// References of convolution and of the fully connected layer, forward and backward.
// All three convolutions walk the same set of (dst, src, weight) element triples, so that one enumerates it.
#include "tests/reference/reference.h"

namespace residuum::reference {
namespace {

/// Calls visit(dst index, src index, weight index) for every multiply-accumulate of the convolution.
template <typename Visit>
void for_each_product(const ConvShape& shape, const Visit& visit) {
  const int64_t group_c = shape.c / shape.groups;  // input channels of a group
  const int64_t group_k = shape.k / shape.groups;  // output channels of a group
  for (int64_t n = 0; n < shape.n; ++n)
    for (int64_t p = 0; p < shape.p(); ++p)
      for (int64_t q = 0; q < shape.q(); ++q)
        for (int64_t k = 0; k < shape.k; ++k)
          for (int64_t r = 0; r < shape.r; ++r)
            for (int64_t s = 0; s < shape.s; ++s) {
              const int64_t h = p * shape.stride - shape.pad + r;
              const int64_t w = q * shape.stride - shape.pad + s;
              if (h < 0 || h >= shape.h || w < 0 || w >= shape.w) continue;
              const int64_t first_c = (k / group_k) * group_c;
              const int64_t dst = ((n * shape.p() + p) * shape.q() + q) * shape.k + k;
              const int64_t src = ((n * shape.h + h) * shape.w + w) * shape.c + first_c;
              const int64_t weight = ((k * shape.r + r) * shape.s + s) * group_c;
              for (int64_t c = 0; c < group_c; ++c) visit(dst, src + c, weight + c);
            }
}

ConvShape shape_of(const Conv& op, const Tensor& src) {
  return {.n = src.shape[0],
          .h = src.shape[1],
          .w = src.shape[2],
          .c = src.shape[3],
          .k = op.out_channels,
          .r = op.kernel_h,
          .s = op.kernel_w,
          .stride = op.stride,
          .pad = op.pad,
          .groups = op.groups};
}

}  // namespace

Tensor conv(const Conv& op, const Tensor& src, const Tensor& weight) {
  const ConvShape shape = shape_of(op, src);
  Tensor dst({shape.n, shape.p(), shape.q(), shape.k});
  for_each_product(shape, [&](int64_t d, int64_t s, int64_t w) { dst[d] += src[s] * weight[w]; });
  return dst;
}

Tensor conv_backward_data(const ConvShape& shape, const Tensor& d_dst, const Tensor& weight) {
  Tensor d_src({shape.n, shape.h, shape.w, shape.c});
  for_each_product(shape, [&](int64_t d, int64_t s, int64_t w) { d_src[s] += d_dst[d] * weight[w]; });
  return d_src;
}

Tensor conv_backward_filter(const ConvShape& shape, const Tensor& d_dst, const Tensor& src) {
  Tensor d_weight({shape.k, shape.r, shape.s, shape.c / shape.groups});
  for_each_product(shape, [&](int64_t d, int64_t s, int64_t w) { d_weight[w] += d_dst[d] * src[s]; });
  return d_weight;
}

Tensor linear(const Tensor& src, const Tensor& weight) {
  const int64_t n = src.shape[0], features = src.elements() / n, classes = weight.shape[0];
  Tensor dst({n, classes});
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < classes; ++k)
      for (int64_t c = 0; c < features; ++c)
        dst[i * classes + k] += src[i * features + c] * weight[k * features + c];
  return dst;
}

Tensor linear_backward_data(const Tensor& d_dst, const Tensor& weight, const Shape& src) {
  Tensor d_src(src);
  const int64_t n = d_dst.shape[0], classes = d_dst.shape[1], features = d_src.elements() / n;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < classes; ++k)
      for (int64_t c = 0; c < features; ++c)
        d_src[i * features + c] += d_dst[i * classes + k] * weight[k * features + c];
  return d_src;
}

Tensor linear_backward_filter(const Tensor& d_dst, const Tensor& src) {
  const int64_t n = d_dst.shape[0], classes = d_dst.shape[1], features = src.elements() / n;
  Tensor d_weight({classes, features});
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = 0; k < classes; ++k)
      for (int64_t c = 0; c < features; ++c)
        d_weight[k * features + c] += d_dst[i * classes + k] * src[i * features + c];
  return d_weight;
}

}  // namespace residuum::reference
