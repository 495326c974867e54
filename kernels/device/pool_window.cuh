// Pooling windows on the device: which pixels a window covers, which windows cover a pixel, and the gather
// that is a max pool's backward pass. Pixels are rows of [rows, channels], below 2^31 of them.
#pragma once

#include "kernels/device/checks.cuh"
#include "kernels/device/divider.h"
#include "kernels/device/rows.cuh"

namespace residuum::kernels {

inline constexpr int64_t kPixelLimit = int64_t{1} << 31;
inline constexpr int64_t kLargestWindow = 16;  // positions fit a byte

/// Half-open range of rows or columns.
struct Range {
  int first, end;
};

/// A PoolShape with what divides pixel numbers.
struct PoolWindow {
  int h = 0, w = 0, p = 0, q = 0, window = 0, stride = 0, pad = 0;
  int64_t channels = 0;
  Divider by_w, by_h, by_q, by_p, by_stride;

  PoolWindow() = default;
  explicit PoolWindow(const PoolShape& s)
      : h(static_cast<int>(s.h)),
        w(static_cast<int>(s.w)),
        p(static_cast<int>(s.p())),
        q(static_cast<int>(s.q())),
        window(static_cast<int>(s.window)),
        stride(static_cast<int>(s.stride)),
        pad(static_cast<int>(s.pad)),
        channels(s.c),
        by_w(s.w),
        by_h(s.h),
        by_q(s.q()),
        by_p(s.p()),
        by_stride(s.stride) {}

  /// Image, row and column of a pixel of src or dst.
  struct Pixel {
    int64_t image;
    int row, column;
  };
  __device__ __forceinline__ Pixel src_pixel(int64_t row) const { return pixel(row, by_w, by_h); }
  __device__ __forceinline__ Pixel dst_pixel(int64_t row) const { return pixel(row, by_q, by_p); }

  /// Source rows (columns) under output row (column) `at`.
  __device__ __forceinline__ Range taps(int at, int extent) const {
    const int first = at * stride - pad, end = first + window;
    return {first < 0 ? 0 : first, end < extent ? end : extent};
  }
  /// Output rows (columns) whose window holds source row (column) `at`.
  __device__ __forceinline__ Range covering(int at, int outputs) const {
    const int last = at + pad, before = last - window + 1;
    const int end = static_cast<int>(by_stride.quotient(static_cast<uint32_t>(last))) + 1;
    const int first =
        before <= 0 ? 0 : static_cast<int>(by_stride.quotient(static_cast<uint32_t>(before + stride - 1)));
    return {first, end < outputs ? end : outputs};
  }

 private:
  __device__ __forceinline__ static Pixel pixel(int64_t row, const Divider& by_columns,
                                                const Divider& by_rows) {
    const Divider::Parts line = by_columns.split(static_cast<uint32_t>(row));
    const Divider::Parts image = by_rows.split(line.quotient);
    return {static_cast<int64_t>(image.quotient), static_cast<int>(image.remainder),
            static_cast<int>(line.remainder)};
  }
};

/// The windows over a source pixel as a sum: term(dst pixel, position in the window) for each, row by row.
template <typename Term>
__device__ __forceinline__ void for_windows_over(const PoolWindow& pool, int64_t src_row, const Term& term) {
  const PoolWindow::Pixel at = pool.src_pixel(src_row);
  const Range rows = pool.covering(at.row, pool.p), columns = pool.covering(at.column, pool.q);
  for (int p = rows.first; p < rows.end; ++p) {
    for (int q = columns.first; q < columns.end; ++q) {
      term((at.image * pool.p + p) * pool.q + q,
           (at.row + pool.pad - p * pool.stride) * pool.window + at.column + pool.pad - q * pool.stride);
    }
  }
}

/// The gradient of a max pool's source: of every window over a pixel, d_dst where argmax is that pixel. A
/// gather loads an Item, without waiting for it where it can, and makes the gradient of it as it would be
/// stored: rounded to T. kFew: two windows at most lie over a pixel in each direction; of whole units all
/// four are then loaded at once.
template <typename T, bool kWholeUnits, bool kFew>
struct MaxPoolGather {
  struct Item {
    Pack<T> sum;
  };
  PoolWindow pool;
  const T* d_dst;
  const uint8_t* argmax;

  __device__ __forceinline__ Item load(const RowSpan& span, int64_t row) const {
    float sum[kUnit] = {};
    for_windows_over(pool, row, [&](int64_t pixel, int position) {
      const int64_t at = pixel * pool.channels + span.channel;
      const Pack<uint8_t> winner = load_pack<kWholeUnits>(argmax + at, span.count);
      float d[kUnit];
      load_unit<kWholeUnits>(d_dst + at, span.count, d);
#pragma unroll
      for (int i = 0; i < kUnit; ++i) sum[i] += winner.at[i] == position ? d[i] : 0.0f;
    });
    return {narrow<T>(sum)};
  }
  __device__ __forceinline__ Pack<T> gradient(const Item& item) const {
    return item.sum;
  }
};
template <typename T>
struct MaxPoolGather<T, true, true> {
  static constexpr int kWindows = 4;
  /// Units as words: their elements would take a register each while they are under way.
  struct alignas(8) Winners {
    uint32_t words[2];
  };
  struct alignas(16) Gradients {
    uint32_t words[kUnit * sizeof(T) / 4];
  };
  struct Item {
    Winners winner[kWindows];
    Gradients d[kWindows];  ///< zeros of a window that is not over the pixel
    int position;           ///< of the pixel in the last of the windows
  };
  PoolWindow pool;
  const T* d_dst;
  const uint8_t* argmax;

  __device__ __forceinline__ Item load(const RowSpan& span, int64_t row) const {
    const PoolWindow::Pixel at = pool.src_pixel(row);
    const int h = at.row + pool.pad, w = at.column + pool.pad;
    const int last_p = static_cast<int>(pool.by_stride.quotient(static_cast<uint32_t>(h)));
    const int last_q = static_cast<int>(pool.by_stride.quotient(static_cast<uint32_t>(w)));
    const int tap_h = h - last_p * pool.stride, tap_w = w - last_q * pool.stride;
    const int64_t last = ((at.image * pool.p + last_p) * pool.q + last_q) * pool.channels + span.channel;
    Item item;
    item.position = tap_h * pool.window + tap_w;
#pragma unroll
    for (int i = 0; i < kWindows; ++i) {
      const int up = 1 - i / 2, left = 1 - i % 2;
      const bool over = static_cast<unsigned>(last_p - up) < static_cast<unsigned>(pool.p) &&
                        static_cast<unsigned>(last_q - left) < static_cast<unsigned>(pool.q) &&
                        tap_h + up * pool.stride < pool.window && tap_w + left * pool.stride < pool.window;
      item.winner[i] = {}, item.d[i] = {};
      if (over) {
        const int64_t element = last - (up * pool.q + left) * pool.channels;
        item.winner[i] = *reinterpret_cast<const Winners*>(argmax + element);
        item.d[i] = *reinterpret_cast<const Gradients*>(d_dst + element);
      }
    }
    return item;
  }
  __device__ __forceinline__ Pack<T> gradient(const Item& item) const {
    float sum[kUnit] = {};
#pragma unroll
    for (int n = 0; n < kWindows; ++n) {
      const int up = 1 - n / 2, left = 1 - n % 2;
      const auto position =
          static_cast<uint32_t>(item.position + (up * pool.window + left) * pool.stride) * 0x01010101u;
      float d[kUnit];
      widen(reinterpret_cast<const Pack<T>&>(item.d[n]), d);
#pragma unroll
      for (int i = 0; i < kUnit; ++i) {
        const uint32_t other = (item.winner[n].words[i / 4] ^ position) & 0xFFu << i % 4 * 8;
        sum[i] += other == 0 ? d[i] : 0.0f;
      }
    }
    return narrow<T>(sum);
  }
};
/// Calls function(constant) with what kFew of a pool is.
template <typename Call>
void with_few_windows(const PoolShape& shape, const Call& function) {
  with_flag(shape.window <= 2 * shape.stride, function);
}

/// The gradient of a global average pool's source: d_dst of the image times `share` = 1 / pixels.
template <typename T, bool kWholeUnits>
struct GlobalPoolGather {
  using Item = Pack<T>;
  int64_t channels;
  Divider by_pixels;
  const T* d_dst;
  float share;

  GlobalPoolGather(int64_t channel_count, int64_t pixels, const T* d)
      : channels(channel_count), by_pixels(pixels), d_dst(d), share(1.0f / static_cast<float>(pixels)) {}

  __device__ __forceinline__ Item load(const RowSpan& span, int64_t row) const {
    const int64_t image = by_pixels.quotient(static_cast<uint32_t>(row));
    return load_pack<kWholeUnits>(d_dst + image * channels + span.channel, span.count);
  }
  /// As it would be stored: rounded to T.
  __device__ __forceinline__ Pack<T> gradient(const Item& item) const {
    float d[kUnit];
    widen(item, d);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) d[i] *= share;
    return narrow<T>(d);
  }
};

inline int64_t src_pixels(const PoolShape& shape) {
  return shape.n * shape.h * shape.w;
}
inline int64_t dst_pixels(const PoolShape& shape) {
  return shape.n * shape.p() * shape.q();
}

/// A shape the kernels can index: at least one pixel everywhere, each window with one inside the image.
inline void require_pool(const char* name, const PoolShape& shape) {
  require_positive(name, "batch", shape.n);
  require_positive(name, "channels", shape.c);
  require_positive(name, "stride", shape.stride);
  require_positive(name, "output height", shape.p());
  require_positive(name, "output width", shape.q());
  require_positive(name, "window", shape.window);
  require_below(name, "window", shape.window, kLargestWindow + 1);
  require_below(name, "padding", shape.pad, shape.window);
  require_below(name, "source pixels", src_pixels(shape), kPixelLimit);
  require_below(name, "output pixels", dst_pixels(shape), kPixelLimit);
}

}  // namespace residuum::kernels
