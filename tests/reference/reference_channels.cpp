// References of the operations that move whole channels: option-A shortcut (He 2015), concatenation, slices.
#include "tests/reference/reference.h"

namespace residuum::reference {
namespace {

/// Channels of zeros before the source's own.
int64_t zeros_before(const ShortcutA& op, int64_t src_channels) {
  return op.zeros == ZeroChannels::kBothSides ? (op.out_channels - src_channels) / 2 : 0;
}

}  // namespace

Tensor shortcut_a(const ShortcutA& op, const Tensor& src) {
  const Nhwc in = Nhwc::of(src.shape);
  Tensor dst({in.n, (in.h + op.stride - 1) / op.stride, (in.w + op.stride - 1) / op.stride, op.out_channels});
  const Nhwc out = Nhwc::of(dst.shape);
  for (int64_t n = 0; n < out.n; ++n)
    for (int64_t p = 0; p < out.h; ++p)
      for (int64_t q = 0; q < out.w; ++q)
        for (int64_t c = 0; c < in.c; ++c)
          dst.at(n, p, q, zeros_before(op, in.c) + c) = src.at(n, p * op.stride, q * op.stride, c);
  return dst;
}

Tensor shortcut_a_backward(const ShortcutA& op, const Tensor& d_dst, const Shape& src) {
  const Nhwc in = Nhwc::of(src), out = Nhwc::of(d_dst.shape);
  Tensor d_src(src);
  for (int64_t n = 0; n < out.n; ++n)
    for (int64_t p = 0; p < out.h; ++p)
      for (int64_t q = 0; q < out.w; ++q)
        for (int64_t c = 0; c < in.c; ++c)
          d_src.at(n, p * op.stride, q * op.stride, c) = d_dst.at(n, p, q, zeros_before(op, in.c) + c);
  return d_src;
}

Tensor concat(std::span<const Tensor* const> parts) {
  int64_t channels = 0;
  for (const Tensor* part : parts) channels += part->channels();
  const Shape& first = parts.front()->shape;
  Tensor dst({first[0], first[1], first[2], channels});
  int64_t before = 0;
  for (const Tensor* part : parts) {
    for (int64_t row = 0; row < part->rows(); ++row)
      for (int64_t c = 0; c < part->channels(); ++c)
        dst[row * channels + before + c] = (*part)[row * part->channels() + c];
    before += part->channels();
  }
  return dst;
}

Tensor slice(const Slice& op, const Tensor& src) {
  Tensor dst({src.shape[0], src.shape[1], src.shape[2], op.channels});
  for (int64_t row = 0; row < src.rows(); ++row)
    for (int64_t c = 0; c < op.channels; ++c)
      dst[row * op.channels + c] = src[row * src.channels() + op.first + c];
  return dst;
}

Tensor slice_backward(const Slice& op, const Tensor& d_dst, const Shape& src) {
  Tensor d_src(src);
  for (int64_t row = 0; row < d_dst.rows(); ++row)
    for (int64_t c = 0; c < op.channels; ++c)
      d_src[row * d_src.channels() + op.first + c] = d_dst[row * op.channels + c];
  return d_src;
}

}  // namespace residuum::reference
