// Problem shapes shared by kernels, engine and benchmarks: plain C++, no CUDA header needed.
// Invariant: every extent is positive and the output extents computed here are what every backend produces.
#pragma once

#include <cstdint>

namespace residuum {

/// Extent of a sliding window's output: floor((in + 2 pad - window) / stride) + 1; not positive when the
/// window does not fit.
constexpr int64_t window_output(int64_t in, int64_t window, int64_t stride, int64_t pad) {
  return in + 2 * pad < window ? 0 : (in + 2 * pad - window) / stride + 1;
}

/// A 2-D convolution: src N,H,W,C; weight K,R,S,C/groups; dst N,P,Q,K.
struct ConvShape {
  int64_t n = 0, h = 0, w = 0, c = 0;
  int64_t k = 0, r = 1, s = 1;
  int64_t stride = 1, pad = 0, groups = 1;

  constexpr int64_t p() const { return window_output(h, r, stride, pad); }
  constexpr int64_t q() const { return window_output(w, s, stride, pad); }
  constexpr int64_t src_elements() const { return n * h * w * c; }
  constexpr int64_t dst_elements() const { return n * p() * q() * k; }
  constexpr int64_t weight_elements() const { return k * r * s * (c / groups); }
  /// Multiply-accumulates of one pass (forward, backward-data or backward-filter: all three are equal).
  constexpr int64_t macs() const { return dst_elements() * r * s * (c / groups); }
  bool operator==(const ConvShape&) const = default;
};

/// A 2-D pooling window: src N,H,W,C; dst N,P,Q,C.
struct PoolShape {
  int64_t n = 0, h = 0, w = 0, c = 0;
  int64_t window = 1, stride = 1, pad = 0;

  constexpr int64_t p() const { return window_output(h, window, stride, pad); }
  constexpr int64_t q() const { return window_output(w, window, stride, pad); }
  bool operator==(const PoolShape&) const = default;
};

}  // namespace residuum
