// Batch normalisation (Ioffe and Szegedy 2015): statistics of the channels, and everything that is one
// multiply-add per element with coefficients computed once a block, in double: the forward pass with residual
// join, ReLU and mask, the backward pass after its sums are known, biases.
#include "kernels/device/batch_norm.cuh"
#include "kernels/device/reduce.cuh"

namespace residuum::kernels {
namespace {

// ---- statistics ----

/// Mean and sum of squared deviations of each channel of the rows that one thread saw. The mean is first +
/// offset, in two parts: neither a mean far from zero nor an outlier may cost it digits.
struct Moments {
  float first[kUnit] = {}, offset[kUnit] = {}, m2[kUnit] = {};
};

/// Sums are shifted by the thread's first value, a value of the data itself: an outlier then never makes the
/// shift larger than the deviations it causes.
template <typename T, bool kWhole>
__device__ __forceinline__ Moments thread_moments(const RowTiling& tiling, const T* src) {
  const RowSpan span = row_span(tiling);
  Moments moments;
  if (span.row >= span.end) return moments;
  float sum[kUnit] = {}, squares[kUnit] = {};
  load_unit<kWhole>(src + span.row * tiling.channels + span.channel, span.count, moments.first);
  int visits = 1;
#pragma unroll 4
  for (int64_t row = span.row + tiling.height; row < span.end; row += tiling.height) {
    float x[kUnit];
    load_unit<kWhole>(src + row * tiling.channels + span.channel, span.count, x);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      const float d = x[i] - moments.first[i];
      sum[i] += d;
      squares[i] = fmaf(d, d, squares[i]);
    }
    ++visits;
  }
#pragma unroll
  for (int i = 0; i < kUnit; ++i) {
    moments.offset[i] = sum[i] / static_cast<float>(visits);
    const float m2 = fmaf(-moments.offset[i], sum[i], squares[i]);
    moments.m2[i] = m2 < 0 ? 0 : m2;  // rounding; a NaN stays
  }
  return moments;
}

/// Rows of row block `part`.
__device__ __forceinline__ double rows_of(const RowTiling& tiling, int part) {
  const int64_t left = tiling.rows - part * tiling.rows_per_block;
  return static_cast<double>(left < tiling.rows_per_block ? left : tiling.rows_per_block);
}

template <typename T, bool kWhole>
__global__ void __launch_bounds__(kReduceThreads, 2)
    batch_norm_stats_kernel(const RowTiling tiling, const T* src, float* partials, unsigned* counter,
                            float* mean, float* variance) {
  grid_dependency_wait();
  grid_dependency_trigger();
  SHARED(float, values, [kReduceThreads * kUnit]);
  SHARED(double, partial, [kReduceThreads]);
  SHARED(double, means, [kReduceThreads]);
  const RowReduction block{values, partial};
  const int thread = static_cast<int>(threadIdx.x);
  const double rows = rows_of(tiling, static_cast<int>(blockIdx.y));
  const auto visits = [&](int slot) {
    const int left = static_cast<int>(rows) - slot;
    return left > 0 ? static_cast<double>((left - 1) / tiling.height + 1) : 0.0;
  };

  const Moments own = thread_moments<T, kWhole>(tiling, src);
  const double block_mean =
      (block.total(tiling, own.first, visits) + block.total(tiling, own.offset, visits)) / rows;
  if (thread < tiling.columns()) means[thread] = block_mean;
  __syncthreads();
  const double seen = visits(thread / tiling.width);
  const int column = thread % tiling.width * kUnit;
  float unit[kUnit];
#pragma unroll
  for (int i = 0; i < kUnit; ++i) {
    const double delta =
        static_cast<double>(own.first[i]) - means[column + i] + static_cast<double>(own.offset[i]);
    unit[i] = own.m2[i] + static_cast<float>(seen * delta * delta);
  }
  const double block_m2 = block.total(tiling, unit);
  const float rounded_mean = static_cast<float>(block_mean);
  store_partial(tiling, kMoments, kMean, rounded_mean, partials);
  store_partial(tiling, kMoments, kMeanRest, block_mean - static_cast<double>(rounded_mean), partials);
  store_partial(tiling, kMoments, kM2, block_m2, partials);
  if (!is_last_block(counter, gridDim.x * gridDim.y)) return;
  for (int64_t first = 0; first < tiling.channels; first += kReduceThreads) {
    const int64_t left = tiling.channels - first;
    join_moments<kReduceThreads>(
        left < kReduceThreads ? static_cast<int>(left) : kReduceThreads, tiling.row_blocks,
        static_cast<double>(tiling.rows), partial,
        [&](int part, int moment, int c) {
          return partials[partial_index(tiling, kMoments, part, moment, first + c)];
        },
        [&](int part) { return rows_of(tiling, part); }, mean + first, variance + first);
  }
}

// ---- maps ----

template <typename T, bool kWholeUnits>
struct Apply {
  static constexpr int kVectors = 2;
  int64_t channels;
  BatchNormApplyArgs args;

  __device__ __forceinline__ void coefficients(int64_t channel, float (&values)[kVectors]) const {
    affine_of(args.vectors, channel, values[0], values[1]);
  }
  template <typename Vectors>
  __device__ __forceinline__ void row(const RowSpan& span, int64_t row, const Vectors& vectors) const {
    const UnitIndex at = unit_index(row, span.channel, channels);
    float y[kUnit], more[kUnit] = {}, scale[kUnit], shift[kUnit];
    load_unit<kWholeUnits>(static_cast<const T*>(args.src) + at.element, span.count, y);
    if (args.addend != nullptr) {
      load_unit<kWholeUnits>(static_cast<const T*>(args.addend) + at.element, span.count, more);
    }
    vectors.load(0, span.column, scale);
    vectors.load(1, span.column, shift);
    normalise(y, scale, shift);
    if (args.addend != nullptr) {
#pragma unroll
      for (int i = 0; i < kUnit; ++i) y[i] += more[i];
    }
    if (args.relu) rectify(y);
    const Pack<T> rounded = narrow<T>(y);
    store_pack<kWholeUnits>(rounded, static_cast<T*>(args.dst) + at.element, span.count);
    if (args.mask != nullptr) {
      widen(rounded, y);
      args.mask[at.mask_byte] = open_bits(y, span.count);
    }
  }
};

/// d_src = of_dy d_dst + (of_x src + constant) [+ addend]: a backward pass of batch norm; frozen: of_dy
/// d_dst.
template <typename T, bool kWholeUnits, bool kFrozen>
struct BackwardApply {
  static constexpr int kVectors = kFrozen ? 1 : 3;
  int64_t rows, channels;
  const T *d_dst, *src;
  BatchNormVectors vectors;
  const float *d_gamma, *d_beta;
  const T* addend;  ///< null: none
  T* d_src;

  __device__ __forceinline__ void coefficients(int64_t c, float (&values)[kVectors]) const {
    if constexpr (kFrozen) {
      values[0] = static_cast<float>(static_cast<double>(vectors.gamma[c]) * inverse_deviation(vectors, c));
    } else {
      gradient_coefficients(vectors, d_gamma, d_beta, rows, c, values);
    }
  }
  template <typename Vectors>
  __device__ __forceinline__ void row(const RowSpan& span, int64_t row, const Vectors& coefficients) const {
    const int64_t at = row * channels + span.channel;
    float dy[kUnit], factor[kUnit];
    load_unit<kWholeUnits>(d_dst + at, span.count, dy);
    coefficients.load(0, span.column, factor);
    if constexpr (kFrozen) {
#pragma unroll
      for (int i = 0; i < kUnit; ++i) dy[i] *= factor[i];
    } else {
      float x[kUnit], of_x[kUnit], constant[kUnit];
      load_unit<kWholeUnits>(src + at, span.count, x);
      coefficients.load(1, span.column, of_x);
      coefficients.load(2, span.column, constant);
#pragma unroll
      for (int i = 0; i < kUnit; ++i) dy[i] = fmaf(factor[i], dy[i], fmaf(of_x[i], x[i], constant[i]));
      if (addend != nullptr) {
        load_unit<kWholeUnits>(addend + at, span.count, x);
#pragma unroll
        for (int i = 0; i < kUnit; ++i) dy[i] += x[i];
      }
    }
    store_unit<kWholeUnits>(dy, d_src + at, span.count);
  }
};

template <typename T, bool kWholeUnits>
struct AddBias {
  static constexpr int kVectors = 1;
  int64_t channels;
  const T* src;
  const float* bias;
  T* dst;

  __device__ __forceinline__ void coefficients(int64_t channel, float (&values)[kVectors]) const {
    values[0] = bias[channel];
  }
  template <typename Vectors>
  __device__ __forceinline__ void row(const RowSpan& span, int64_t row, const Vectors& vectors) const {
    const int64_t at = row * channels + span.channel;
    float x[kUnit], offset[kUnit];
    load_unit<kWholeUnits>(src + at, span.count, x);
    vectors.load(0, span.column, offset);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) x[i] += offset[i];
    store_unit<kWholeUnits>(x, dst + at, span.count);
  }
};

}  // namespace

size_t batch_norm_stats_workspace(const Rows& rows) {
  return partial_bytes(tile_reduction(rows.rows, rows.channels), kMoments);
}

void batch_norm_stats(const Rows& rows, const void* src, float* mean, float* variance, void* workspace,
                      unsigned* counter, Stream stream) {
  constexpr const char* kName = "batch_norm_stats";
  require_rows(kName, rows);
  require_addresses(kName, {src, workspace});
  const RowTiling tiling = tile_reduction(rows.rows, rows.channels);
  with_rows(rows, [&](auto zero, auto whole) {
    using T = decltype(zero);
    launch(kName, batch_norm_stats_kernel<T, whole.value>, tiling.grid(), dim3(kReduceThreads), 0, stream,
           tiling, static_cast<const T*>(src), static_cast<float*>(workspace), counter, mean, variance);
  });
}

void batch_norm_apply(const Rows& rows, const BatchNormApplyArgs& args, Stream stream) {
  constexpr const char* kName = "batch_norm_apply";
  require_rows(kName, rows);
  require_addresses(kName, {args.src, args.dst});
  require(args.mask == nullptr || args.relu, kName, "a mask without ReLU");
  with_rows(rows, [&](auto zero, auto whole) {
    map_rows(kName, rows.rows, rows.channels, Apply<decltype(zero), whole.value>{rows.channels, args},
             stream);
  });
}

void batch_norm_backward_apply(const Rows& rows, const void* d_dst, const void* src,
                               const BatchNormVectors& vectors, const float* d_gamma, const float* d_beta,
                               const void* addend, void* d_src, Stream stream) {
  constexpr const char* kName = "batch_norm_backward_apply";
  require_rows(kName, rows);
  require_addresses(kName, {d_dst, src, d_src});
  if (addend != nullptr) require_addresses(kName, {addend});
  with_rows(rows, [&](auto zero, auto whole) {
    using T = decltype(zero);
    const BackwardApply<T, whole.value, false> policy{
        rows.rows, rows.channels, static_cast<const T*>(d_dst),  static_cast<const T*>(src), vectors,
        d_gamma,   d_beta,        static_cast<const T*>(addend), static_cast<T*>(d_src)};
    map_rows(kName, rows.rows, rows.channels, policy, stream);
  });
}

void batch_norm_frozen_backward(const Rows& rows, const void* d_dst, const BatchNormVectors& vectors,
                                void* d_src, Stream stream) {
  constexpr const char* kName = "batch_norm_frozen_backward";
  require_rows(kName, rows);
  require_addresses(kName, {d_dst, d_src});
  with_rows(rows, [&](auto zero, auto whole) {
    using T = decltype(zero);
    const BackwardApply<T, whole.value, true> policy{rows.rows, rows.channels, static_cast<const T*>(d_dst),
                                                     nullptr,   vectors,       nullptr,
                                                     nullptr,   nullptr,       static_cast<T*>(d_src)};
    map_rows(kName, rows.rows, rows.channels, policy, stream);
  });
}

void bias(const Rows& rows, const void* src, const float* bias, void* dst, Stream stream) {
  constexpr const char* kName = "bias";
  require_rows(kName, rows);
  require_addresses(kName, {src, dst});
  with_rows(rows, [&](auto zero, auto whole) {
    using T = decltype(zero);
    const AddBias<T, whole.value> policy{rows.channels, static_cast<const T*>(src), bias,
                                         static_cast<T*>(dst)};
    map_rows(kName, rows.rows, rows.channels, policy, stream);
  });
}

}  // namespace residuum::kernels
