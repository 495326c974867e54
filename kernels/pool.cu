// Pooling both ways. Backward passes gather: a thread adds up the windows over its own pixels, so that every
// gradient is written once, by one thread, in a fixed order.
#include "kernels/device/batch_norm.cuh"
#include "kernels/device/pool_window.cuh"
#include "kernels/device/reduce.cuh"

namespace residuum::kernels {
namespace {

/// Maximum and its position; with kNormalised over ReLU(BN(src)), rounded as if it had been stored.
template <typename T, bool kWholeUnits, bool kNormalised>
struct MaxPoolForward {
  static constexpr int kVectors = kNormalised ? 2 : 0;
  PoolWindow pool;
  const T* src;
  BatchNormVectors vectors;
  T* dst;
  uint8_t* argmax;

  __device__ __forceinline__ void coefficients(int64_t channel, float (&values)[2]) const {
    affine_of(vectors, channel, values[0], values[1]);
  }
  template <typename Vectors>
  __device__ __forceinline__ void row(const RowSpan& span, int64_t row, const Vectors& coefficients) const {
    const PoolWindow::Pixel at = pool.dst_pixel(row);
    const Range rows = pool.taps(at.row, pool.h), columns = pool.taps(at.column, pool.w);
    const int top = at.row * pool.stride - pool.pad, left = at.column * pool.stride - pool.pad;
    float best[kUnit] = {};
    Pack<uint8_t> position{};
    bool first = true;
    for (int h = rows.first; h < rows.end; ++h) {
      const T* const line = src + (at.image * pool.h + h) * pool.w * pool.channels + span.channel;
#pragma unroll 3
      for (int w = columns.first; w < columns.end; ++w) {
        float x[kUnit];
        load_unit<kWholeUnits>(line + w * pool.channels, span.count, x);
        if constexpr (kNormalised) {
          float scale[kUnit], shift[kUnit];
          coefficients.load(0, span.column, scale);
          coefficients.load(1, span.column, shift);
          normalise(x, scale, shift);
          rectify(x);
          round_as<T>(x);
        }
        const uint8_t here = static_cast<uint8_t>((h - top) * pool.window + w - left);
#pragma unroll
        for (int i = 0; i < kUnit; ++i) {
          const bool wins = first || x[i] > best[i] || x[i] != x[i];
          best[i] = wins ? x[i] : best[i];
          position.at[i] = wins ? here : position.at[i];
        }
        first = false;
      }
    }
    const int64_t out = row * pool.channels + span.channel;
    store_unit<kWholeUnits>(best, dst + out, span.count);
    store_pack<kWholeUnits>(position, argmax + out, span.count);
  }
};

template <typename T, bool kWholeUnits, bool kFew>
struct MaxPoolBackward {
  static constexpr int kVectors = 0;
  MaxPoolGather<T, kWholeUnits, kFew> gather;
  T* d_src;

  template <typename Vectors>
  __device__ __forceinline__ void row(const RowSpan& span, int64_t row, const Vectors&) const {
    store_pack<kWholeUnits>(gather.gradient(gather.load(span, row)),
                            d_src + row * gather.pool.channels + span.channel, span.count);
  }
};

/// The mean over a window, padding counted as zeros; its adjoint the mean over the windows over a pixel.
template <typename T, bool kWholeUnits, bool kBackward>
struct AveragePool {
  static constexpr int kVectors = 0;
  PoolWindow pool;
  const T* src;
  T* dst;
  float share;  ///< 1 / window area

  template <typename Vectors>
  __device__ __forceinline__ void row(const RowSpan& span, int64_t row, const Vectors&) const {
    float sum[kUnit] = {};
    const auto add = [&](int64_t pixel) {
      float x[kUnit];
      load_unit<kWholeUnits>(src + pixel * pool.channels + span.channel, span.count, x);
#pragma unroll
      for (int i = 0; i < kUnit; ++i) sum[i] += x[i];
    };
    if constexpr (kBackward) {
      for_windows_over(pool, row, [&](int64_t pixel, int) { add(pixel); });
    } else {
      const PoolWindow::Pixel at = pool.dst_pixel(row);
      const Range rows = pool.taps(at.row, pool.h), columns = pool.taps(at.column, pool.w);
      for (int h = rows.first; h < rows.end; ++h) {
        for (int w = columns.first; w < columns.end; ++w) add((at.image * pool.h + h) * pool.w + w);
      }
    }
#pragma unroll
    for (int i = 0; i < kUnit; ++i) sum[i] *= share;
    store_unit<kWholeUnits>(sum, dst + row * pool.channels + span.channel, span.count);
  }
};

/// Blocks of a global pool: one tile of channels of one image each, grid (images, tiles).
constexpr TilingRule kImageRule{kReduceThreads, kReduceWidth, 1, 1, int64_t{1} << 31};

template <typename T, bool kWholeUnits>
__global__ void __launch_bounds__(kReduceThreads, 2)
    global_avg_pool_kernel(const RowTiling tiling, const T* src, T* dst) {
  grid_dependency_wait();
  grid_dependency_trigger();
  SHARED(float, values, [kReduceThreads * kUnit]);
  SHARED(double, partial, [kReduceThreads]);
  const int64_t image = blockIdx.x;
  const T* const own = src + image * tiling.rows * tiling.channels;
  const RowSpan span = row_span(tiling, blockIdx.y, 0);
  float sum[kUnit] = {};
#pragma unroll 4
  for (int64_t row = span.row; row < span.end; row += tiling.height) {
    float x[kUnit];
    load_unit<kWholeUnits>(own + row * tiling.channels + span.channel, span.count, x);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) sum[i] += x[i];
  }
  const double total = RowReduction{values, partial}.total(tiling, sum);
  const int64_t channel = static_cast<int64_t>(blockIdx.y) * tiling.columns() + threadIdx.x;
  if (static_cast<int>(threadIdx.x) < tiling.columns() && channel < tiling.channels) {
    dst[image * tiling.channels + channel] =
        from_float<T>(static_cast<float>(total / static_cast<double>(tiling.rows)));
  }
}

template <typename T, bool kWholeUnits>
struct GlobalAveragePoolBackward {
  static constexpr int kVectors = 0;
  GlobalPoolGather<T, kWholeUnits> gather;
  T* d_src;

  template <typename Vectors>
  __device__ __forceinline__ void row(const RowSpan& span, int64_t row, const Vectors&) const {
    store_pack<kWholeUnits>(gather.gradient(gather.load(span, row)),
                            d_src + row * gather.channels + span.channel, span.count);
  }
};

template <bool kBackward>
void average_pool(const char* name, const PoolShape& shape, Element type, const void* src, void* dst,
                  Stream stream) {
  require_pool(name, shape);
  require_addresses(name, {src, dst});
  with_units(type, shape.c % kUnit == 0, [&](auto zero, auto whole) {
    using T = decltype(zero);
    const AveragePool<T, whole.value, kBackward> policy{
        PoolWindow(shape), static_cast<const T*>(src), static_cast<T*>(dst),
        1.0f / static_cast<float>(shape.window * shape.window)};
    map_rows(name, kBackward ? src_pixels(shape) : dst_pixels(shape), shape.c, policy, stream);
  });
}

void require_global(const char* name, int64_t n, int64_t pixels, int64_t channels) {
  require_positive(name, "batch", n);
  require_positive(name, "pixels", pixels);
  require_positive(name, "channels", channels);
  require_below(name, "all pixels", n * pixels, kPixelLimit);
}

}  // namespace

void max_pool(const PoolShape& shape, Element type, const void* src, const BatchNormVectors* vectors,
              void* dst, uint8_t* argmax, Stream stream) {
  constexpr const char* kName = "max_pool";
  require_pool(kName, shape);
  require_addresses(kName, {src, dst, argmax});
  with_units(type, shape.c % kUnit == 0, [&](auto zero, auto whole) {
    with_flag(vectors != nullptr, [&](auto normalised) {
      using T = decltype(zero);
      const MaxPoolForward<T, whole.value, normalised.value> policy{
          PoolWindow(shape), static_cast<const T*>(src), vectors != nullptr ? *vectors : BatchNormVectors{},
          static_cast<T*>(dst), argmax};
      map_rows(kName, dst_pixels(shape), shape.c, policy, stream);
    });
  });
}

void max_pool_backward(const PoolShape& shape, Element type, const void* d_dst, const uint8_t* argmax,
                       void* d_src, Stream stream) {
  constexpr const char* kName = "max_pool_backward";
  require_pool(kName, shape);
  require_addresses(kName, {d_dst, argmax, d_src});
  with_units(type, shape.c % kUnit == 0, [&](auto zero, auto whole) {
    with_few_windows(shape, [&](auto few) {
      using T = decltype(zero);
      const MaxPoolBackward<T, whole.value, few.value> policy{
          {PoolWindow(shape), static_cast<const T*>(d_dst), argmax}, static_cast<T*>(d_src)};
      map_rows(kName, src_pixels(shape), shape.c, policy, stream);
    });
  });
}

void avg_pool(const PoolShape& shape, Element type, const void* src, void* dst, Stream stream) {
  average_pool<false>("avg_pool", shape, type, src, dst, stream);
}

void avg_pool_backward(const PoolShape& shape, Element type, const void* d_dst, void* d_src, Stream stream) {
  average_pool<true>("avg_pool_backward", shape, type, d_dst, d_src, stream);
}

void global_avg_pool(int64_t n, int64_t pixels, int64_t channels, Element type, const void* src, void* dst,
                     Stream stream) {
  constexpr const char* kName = "global_avg_pool";
  require_global(kName, n, pixels, channels);
  require_addresses(kName, {src, dst});
  with_units(type, channels % kUnit == 0, [&](auto zero, auto whole) {
    using T = decltype(zero);
    const RowTiling tiling = tile_rows(pixels, channels, kImageRule);
    const dim3 grid(static_cast<unsigned>(n), static_cast<unsigned>(tiling.column_blocks));
    launch(kName, global_avg_pool_kernel<T, whole.value>, grid, dim3(kReduceThreads), 0, stream, tiling,
           static_cast<const T*>(src), static_cast<T*>(dst));
  });
}

void global_avg_pool_backward(int64_t n, int64_t pixels, int64_t channels, Element type, const void* d_dst,
                              void* d_src, Stream stream) {
  constexpr const char* kName = "global_avg_pool_backward";
  require_global(kName, n, pixels, channels);
  require_addresses(kName, {d_dst, d_src});
  with_units(type, channels % kUnit == 0, [&](auto zero, auto whole) {
    using T = decltype(zero);
    const GlobalAveragePoolBackward<T, whole.value> policy{{channels, pixels, static_cast<const T*>(d_dst)},
                                                           static_cast<T*>(d_src)};
    map_rows(kName, n * pixels, channels, policy, stream);
  });
}

}  // namespace residuum::kernels
