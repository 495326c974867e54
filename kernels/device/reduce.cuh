// Sums with a fixed order: over the rows of a block, over the blocks of a launch (the last block to finish
// adds what the others left in the workspace), over a warp. Nothing here depends on which block or warp runs
// first.
#pragma once

#include "kernels/device/rows.cuh"

namespace residuum::kernels {

inline constexpr unsigned kFullWarp = 0xffffffffu;
inline constexpr int kWarp = 32;

/// True in every thread of the block that is the last of `blocks` to come here; what the others wrote before
/// is then visible. Sets the counter back to 0.
__device__ __forceinline__ bool is_last_block(unsigned* counter, unsigned blocks) {
  SHARED(int, last, );
  __syncthreads();
  if (threadIdx.x == 0) {
    last = add_acquire_release(counter, 1u) == blocks - 1 ? 1 : 0;
    if (last != 0) *counter = 0;
  }
  __syncthreads();
  return last != 0;
}

/// Parts that a thread fetches at once where blocks' sums are added: each round waits for L2.
inline constexpr int kPartsInFlight = 8;

/// Sums over parts for each of `columns` columns (at most kThreads, the size of the block), in thread
/// `column`; other threads get something else. load(part, column) fetches an item, add(item, part, sums) adds
/// it. `memory` is kThreads doubles of shared memory.
template <int kThreads, int kSums, typename Load, typename Add>
__device__ __forceinline__ void column_totals(int columns, int parts, double* memory, const Load& load,
                                              const Add& add, double (&sums)[kSums]) {
  const int thread = static_cast<int>(threadIdx.x);
  const int ranges = kThreads / columns;
  const int range = thread / columns, column = thread - range * columns;
#pragma unroll
  for (int s = 0; s < kSums; ++s) sums[s] = 0;
#pragma unroll 1
  for (int first = range < ranges ? range : parts; first < parts; first += kPartsInFlight * ranges) {
    decltype(load(0, 0)) items[kPartsInFlight];
#pragma unroll
    for (int i = 0; i < kPartsInFlight; ++i) {
      if (first + i * ranges < parts) items[i] = load(first + i * ranges, column);
    }
#pragma unroll
    for (int i = 0; i < kPartsInFlight; ++i) {
      if (first + i * ranges < parts) add(items[i], first + i * ranges, sums);
    }
  }
#pragma unroll
  for (int s = 0; s < kSums; ++s) {
    memory[thread] = sums[s];
    __syncthreads();
    if (thread < columns) {
      for (int r = 1; r < ranges; ++r) sums[s] += memory[r * columns + thread];
    }
    __syncthreads();
  }
}
/// The same of one number, term(part, column).
template <int kThreads, typename Term>
__device__ __forceinline__ double column_total(int columns, int parts, double* memory, const Term& term) {
  double total[1];
  column_totals<kThreads>(
      columns, parts, memory, term,
      [](auto item, int, double(&sums)[1]) { sums[0] += static_cast<double>(item); }, total);
  return total[0];
}

/// What a part leaves of kCount sums.
template <int kCount>
struct PartialSums {
  float at[kCount];
  __device__ __forceinline__ static void add(const PartialSums& own, int, double (&sums)[kCount]) {
#pragma unroll
    for (int s = 0; s < kCount; ++s) sums[s] += static_cast<double>(own.at[s]);
  }
};

/// Mean and sum of squared deviations of a part of the rows, as its block leaves them for the last block: the
/// mean in two floats.
enum Moment { kMean, kMeanRest, kM2, kMoments };

/// Moments of a part as they are fetched.
struct PartMoments {
  float mean, rest, m2;
  __device__ __forceinline__ double exact_mean() const {
    return static_cast<double>(mean) + static_cast<double>(rest);
  }
};

/// The last block joins the moments of all parts. In one pass: with d_i = mean_i - mean_0, mean = mean_0 +
/// sum n_i d_i / n and m2 = sum (m2_i + n_i d_i^2) - (sum n_i d_i)^2 / n. That loses no digits a double has
/// not to spare: mean_0 is within sqrt(n / n_0) standard deviations of the mean. at(part, moment, column) is
/// a moment of one of `columns` columns, rows_of(part) its rows. `memory` is kThreads doubles of shared
/// memory.
template <int kThreads, typename At, typename RowsOf>
__device__ __forceinline__ void join_moments(int columns, int parts, double rows, double* memory,
                                             const At& at, const RowsOf& rows_of, float* mean,
                                             float* variance) {
  const int thread = static_cast<int>(threadIdx.x);
  const auto moments_of = [&](int part, int c) {
    return PartMoments{at(part, kMean, c), at(part, kMeanRest, c), at(part, kM2, c)};
  };
  const double origin = moments_of(0, thread % columns).exact_mean();
  double sums[2];
  column_totals<kThreads>(
      columns, parts, memory, moments_of,
      [&](const PartMoments& own, int part, double(&to)[2]) {
        const double distance = own.exact_mean() - origin, weighted = rows_of(part) * distance;
        to[0] += weighted;
        to[1] += static_cast<double>(own.m2) + weighted * distance;
      },
      sums);
  if (thread < columns) {
    const double m2 = sums[1] - sums[0] * (sums[0] / rows);
    mean[thread] = static_cast<float>(origin + sums[0] / rows);
    variance[thread] = m2 < 0 ? 0.0f : static_cast<float>(m2 / rows);  // rounding; a NaN stays
  }
}

/// The sum over the block, in every thread. `memory` is kThreads doubles of shared memory.
template <int kThreads>
__device__ __forceinline__ double block_total(double value, double* memory) {
  const int thread = static_cast<int>(threadIdx.x);
  memory[thread] = value;
#pragma unroll
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) memory[thread] += memory[thread + half];
  }
  __syncthreads();
  const double total = memory[0];
  __syncthreads();  // the memory may serve again
  return total;
}

/// Sum and maximum over a warp, in every lane.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int lane = kWarp / 2; lane > 0; lane /= 2) value += __shfl_xor_sync(kFullWarp, value, lane);
  return value;
}
__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int lane = kWarp / 2; lane > 0; lane /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, lane));
  }
  return value;
}

// ---- sums per channel ----

inline constexpr int kReduceThreads = 256;
inline constexpr int kReduceWidth = 8;  // units: 128 bytes of a row, one cache line, in 16-bit types
/// 528 blocks: two waves on 132 multiprocessors that hold two blocks of 128 registers a thread, or one of
/// lighter kernels; the last block reads 512 bytes of each, which takes it a few microseconds. 4 visits pay
/// for the sum over the block; 256 floats are added up before double takes over.
inline constexpr TilingRule kReduceRule{kReduceThreads, kReduceWidth, 528, 4, 256};

inline RowTiling tile_reduction(int64_t rows, int64_t channels) {
  return tile_rows(rows, channels, kReduceRule);
}

/// Shared memory of a reduction over the rows of a tile.
struct RowReduction {
  float* values;    ///< kReduceThreads units
  double* partial;  ///< kReduceThreads

  /// Sum over the threads of the block, side by side in rows, of weight(row) times each one's `unit`, for
  /// column threadIdx.x of the tile.
  template <typename Weight>
  __device__ __forceinline__ double total(const RowTiling& tiling, const float (&unit)[kUnit],
                                          const Weight& weight) const {
    float4* const own = reinterpret_cast<float4*>(values + threadIdx.x * kUnit);
    own[0] = make_float4(unit[0], unit[1], unit[2], unit[3]);
    own[1] = make_float4(unit[4], unit[5], unit[6], unit[7]);
    __syncthreads();
    const int columns = tiling.columns();
    return column_total<kReduceThreads>(columns, tiling.height, partial, [&](int row, int column) {
      return weight(row) * static_cast<double>(values[row * columns + column]);
    });
  }
  __device__ __forceinline__ double total(const RowTiling& tiling, const float (&unit)[kUnit]) const {
    return total(tiling, unit, [](int) { return 1.0; });
  }
};

/// Where block `part` leaves sum `sum` of a channel: floats [parts][sums][channels].
__device__ __forceinline__ int64_t partial_index(const RowTiling& tiling, int sums, int64_t part, int sum,
                                                 int64_t channel) {
  return (part * sums + sum) * tiling.channels + channel;
}

inline size_t partial_bytes(const RowTiling& tiling, int sums) {
  return static_cast<size_t>(tiling.row_blocks) * static_cast<size_t>(sums * tiling.channels) * sizeof(float);
}

/// Leaves the block's sum in the workspace.
__device__ __forceinline__ void store_partial(const RowTiling& tiling, int sums, int sum, double value,
                                              float* partials) {
  const int64_t channel = static_cast<int64_t>(blockIdx.x) * tiling.columns() + threadIdx.x;
  if (static_cast<int>(threadIdx.x) < tiling.columns() && channel < tiling.channels) {
    partials[partial_index(tiling, sums, blockIdx.y, sum, channel)] = static_cast<float>(value);
  }
}

/// Per-channel sums of a policy over all rows. A policy is a struct with kVectors, kSums, an Item that load()
/// fetches for a unit without waiting, add() that adds it to the thread's sums (and may store), and
/// finish(channel, totals) which the last block calls for each channel.
template <typename Policy>
__global__ void __launch_bounds__(kReduceThreads, 2)
    sum_rows_kernel(const RowTiling tiling, const Policy policy, float* partials, unsigned* counter) {
  grid_dependency_wait();
  grid_dependency_trigger();
  constexpr int kColumns = kReduceWidth * kUnit, kSums = Policy::kSums, kFlight = Policy::kFlight;
  SHARED(float, memory, [(Policy::kVectors > 0 ? Policy::kVectors : 1) * kColumns]);
  SHARED(float, values, [kReduceThreads * kUnit]);
  SHARED(double, partial, [kReduceThreads]);
  const auto coefficients = stage_coefficients<Policy::kVectors, kColumns>(tiling, policy, memory);
  const RowSpan span = row_span(tiling);
  float sums[kSums][kUnit] = {};
  int64_t row = span.row;
  for (; row + (kFlight - 1) * tiling.height < span.end; row += kFlight * tiling.height) {
    typename Policy::Item items[kFlight];
#pragma unroll
    for (int i = 0; i < kFlight; ++i) items[i] = policy.load(span, row + i * tiling.height);
#pragma unroll
    for (int i = 0; i < kFlight; ++i) policy.add(span, row + i * tiling.height, items[i], coefficients, sums);
  }
  for (; row < span.end; row += tiling.height) {
    policy.add(span, row, policy.load(span, row), coefficients, sums);
  }
  const RowReduction block{values, partial};
#pragma unroll
  for (int s = 0; s < kSums; ++s) store_partial(tiling, kSums, s, block.total(tiling, sums[s]), partials);
  if (!is_last_block(counter, gridDim.x * gridDim.y)) return;
  for (int64_t first = 0; first < tiling.channels; first += kReduceThreads) {
    const int64_t left = tiling.channels - first;
    const int columns = left < kReduceThreads ? static_cast<int>(left) : kReduceThreads;
    double totals[kSums];
    column_totals<kReduceThreads>(
        columns, tiling.row_blocks, partial,
        [&](int part, int column) {
          PartialSums<kSums> own;
#pragma unroll
          for (int s = 0; s < kSums; ++s) {
            own.at[s] = partials[partial_index(tiling, kSums, part, s, first + column)];
          }
          return own;
        },
        PartialSums<kSums>::add, totals);
    if (static_cast<int>(threadIdx.x) < columns) policy.finish(first + threadIdx.x, totals);
  }
}

template <typename Policy>
void sum_rows(const char* name, int64_t rows, int64_t channels, const Policy& policy, void* workspace,
              unsigned* counter, Stream stream) {
  const RowTiling tiling = tile_reduction(rows, channels);
  launch(name, sum_rows_kernel<Policy>, tiling.grid(), dim3(kReduceThreads), 0, stream, tiling, policy,
         static_cast<float*>(workspace), counter);
}

}  // namespace residuum::kernels
