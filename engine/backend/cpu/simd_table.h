// The table of the CPU's hand-written loops: plain C++ without standard library types, because the files that
// fill it are compiled once per instruction set and may share no inline function with the rest of the
// program. Every function works on dense rows x channels, row major, channels fastest, in one thread, without
// allocating; the order of additions is fixed by (rows, c) alone. `void` stands for float or bfloat16, by the
// table's element type (bfloat16 is stored rounded to nearest even, arithmetic is in float); vectors per
// channel are float, sums double. dst may be one of the sources, never a shifted part of one.
#pragma once

#include <cstdint>

namespace residuum::cpu {

/// What names the numbers of one dropout mask: element i of the tensor uses word i % 4 of
/// philox({i / 4, micro_step ^ (i / 4 >> 32 << 16), step, stream << 8 | kDropout}, seed) and is dropped when
/// (word >> 8) * 2^-24 < probability. `step` counts modulo 2^32, `stream` modulo 2^24.
struct DropoutStream {
  uint64_t seed = 0, step = 0;
  uint32_t micro_step = 0, stream = 0;
};

/// Coefficients of one step of SGD: d = gradient * g + weight_decay * w; m = momentum * m + d;
/// w -= learning_rate * (nesterov ? d + momentum * m : m).
struct SgdFactors {
  float gradient = 1, weight_decay = 0, momentum = 0, learning_rate = 0;
  bool nesterov = false;
};

/// The pixels of one pooling window that lie inside the image.
struct WindowTaps {
  const int64_t* offsets = nullptr;    ///< in elements
  const uint8_t* positions = nullptr;  ///< r * window + s; unused by sums
  int count = 0;
};

struct Simd {
  // Per channel, over rows x c

  /// dst = src * scale[c] + shift[c] (src u8).
  void (*normalize)(const uint8_t* src, int64_t rows, int64_t c, const float* scale, const float* shift,
                    void* dst);
  /// Per channel the mean and the sum of squared deviations from it, exact enough for Chan's parallel update.
  /// Zeros for no rows.
  void (*moments)(const void* src, int64_t rows, int64_t c, double* mean, double* m2);
  /// dst = f(src * scale[c] + shift[c] + residual); residual may be null; f is ReLU when relu.
  void (*affine)(const void* src, const void* residual, int64_t rows, int64_t c, const float* scale,
                 const float* shift, bool relu, void* dst);
  /// dst = a[c] * x + b[c] * y + d[c].
  void (*affine2)(const void* x, const void* y, int64_t rows, int64_t c, const float* a, const float* b,
                  const float* d, void* dst);
  /// Per channel: sum of dy, and sum of dy * (x - mean[c]).
  void (*backward_sums)(const void* dy, const void* x, int64_t rows, int64_t c, const float* mean,
                        double* sum_dy, double* sum_dy_x);
  /// g = 0 where z <= 0, else a + b (b may be null); written to g; then backward_sums(g, x).
  void (*relu_backward_sums)(const void* a, const void* b, const void* z, const void* x, int64_t rows,
                             int64_t c, const float* mean, void* g, double* sum_g, double* sum_g_x);
  /// Per channel: sum of src.
  void (*channel_sums)(const void* src, int64_t rows, int64_t c, double* sum);

  // n elements; NaN passes through every activation and gradient, as in torch

  void (*relu)(const void* src, int64_t n, void* dst);
  void (*sigmoid)(const void* src, int64_t n, void* dst);
  void (*tanh)(const void* src, int64_t n, void* dst);
  void (*relu_backward)(const void* d_dst, const void* dst, int64_t n, void* d_src);
  void (*sigmoid_backward)(const void* d_dst, const void* dst, int64_t n, void* d_src);
  void (*tanh_backward)(const void* d_dst, const void* dst, int64_t n, void* d_src);
  void (*add)(const void* a, const void* b, int64_t n, void* dst);
  void (*multiply)(const void* a, const void* b, int64_t n, void* dst);
  /// dst = factor * src + offset.
  void (*scale)(const void* src, int64_t n, float factor, float offset, void* dst);
  /// Element i is element first + i of the whole tensor; kept elements are divided by 1 - probability.
  void (*dropout)(const void* src, int64_t first, int64_t n, float probability, const DropoutStream& stream,
                  void* dst);
  void (*to_float)(const void* src, int64_t n, float* dst);
  void (*from_float)(const float* src, int64_t n, void* dst);

  // Pooling windows, c channels per pixel

  /// For each of `pixels` outputs, side by side in dst, the maximum over the taps and the position of the
  /// first one; the window moves by `step` elements of src per output. A NaN wins over everything before it,
  /// as in torch.
  void (*window_max)(const void* src, const WindowTaps& taps, int64_t pixels, int64_t step, int64_t c,
                     void* dst, uint8_t* argmax);
  /// The same for factor * the sum over the taps, which may be none.
  void (*window_sum)(const void* src, const WindowTaps& taps, int64_t pixels, int64_t step, int64_t c,
                     float factor, void* dst);
  /// d_src of one pixel: the sum over the taps of d_dst where argmax is the tap's position.
  void (*window_max_backward)(const void* d_dst, const uint8_t* argmax, const WindowTaps& taps, int64_t c,
                              void* d_src);

  // Parameters: float in every table

  void (*sgd)(float* w, float* m, const float* g, int64_t n, const SgdFactors& factors);
  /// dst = a * x + b * y.
  void (*blend)(const float* x, float a, const float* y, float b, int64_t n, float* dst);
  /// The sum of squares, in double: finite exactly when every element is.
  double (*sum_squares)(const float* x, int64_t n);
};

}  // namespace residuum::cpu
