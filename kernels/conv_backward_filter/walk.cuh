// The walk of one thread of backward-filter over the output pixels whose chunks of columns it copies: where
// in the source its tap lies, found by division once and by additions from then on.
#pragma once

#include "kernels/conv_backward_filter/geometry.h"
#include "kernels/device/tile.cuh"

namespace residuum::kernels {

class TapWalk {
 public:
  TapWalk() = default;
  /// From output pixel m on, for the tap at distance (tap_h, tap_w); a tap that does not exist is never
  /// inside the image.
  __device__ __forceinline__ TapWalk(const FilterGeometry& g, int m, int tap_h, int tap_w, bool exists) {
    const auto [image, pixel] = g.image.split(static_cast<uint32_t>(m));
    const auto [y, x] = g.line.split(pixel);
    const int h = static_cast<int>(y) * g.stride + tap_h;
    w_ = static_cast<int>(x) * g.stride + tap_w;
    // Unsigned: places outside of the source may lie anywhere.
    pixel_ =
        (image * static_cast<unsigned>(g.src_h) + static_cast<unsigned>(h)) * static_cast<unsigned>(g.src_w) +
        static_cast<unsigned>(w_);
    w_end_ = g.advance.line_w + tap_w;
    h_ = exists ? h : h - kFarAbove;
    h_end_ = g.advance.image_h + (exists ? tap_h : tap_h - kFarAbove);
  }

  __device__ __forceinline__ bool inside(const FilterGeometry& g) const {
    return static_cast<unsigned>(h_) < static_cast<unsigned>(g.src_h) &&
           static_cast<unsigned>(w_) < static_cast<unsigned>(g.src_w) &&
           pixel_ < static_cast<unsigned>(g.src_pixels);
  }
  /// The source pixel, of a tap inside.
  __device__ __forceinline__ unsigned pixel() const { return pixel_; }

  __device__ __forceinline__ void advance(const FilterGeometry& g) {
    const FilterAdvance& by = g.advance;
    w_ += by.w, h_ += by.h, pixel_ += static_cast<unsigned>(by.pixel);
    if (w_ >= w_end_) {
      w_ -= by.line_w, h_ += g.stride, pixel_ += static_cast<unsigned>(by.next_line);
    }
    if (h_ >= h_end_) {
      h_ -= by.image_h, pixel_ += static_cast<unsigned>(by.next_image);
    }
  }

 private:
  static constexpr int kFarAbove = 1 << 20;
  int h_ = 0, w_ = 0, h_end_ = 0, w_end_ = 0;
  unsigned pixel_ = 0;
};

}  // namespace residuum::kernels
