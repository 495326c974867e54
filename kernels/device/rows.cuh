// The walk over [rows, channels] that kernels share: a block owns a tile of up to a few hundred channels and
// a run of rows; a thread owns one unit of eight channels and visits rows `height` apart, so that neighbours
// in a warp read neighbouring addresses and channel vectors are fetched once a block.
#pragma once

#include <algorithm>

#include "kernels/device/checks.cuh"
#include "kernels/device/vector.cuh"

namespace residuum::kernels {

/// How a launch cuts an activation: a function of the shape alone.
struct RowTiling {
  int64_t rows = 0, channels = 0;
  int64_t rows_per_block = 0;
  int width = 0;   ///< units side by side in a block
  int height = 0;  ///< rows a block holds at once
  int column_blocks = 0, row_blocks = 0;

  dim3 grid() const { return dim3(static_cast<unsigned>(column_blocks), static_cast<unsigned>(row_blocks)); }
  __host__ __device__ int columns() const { return width * kUnit; }
};

inline constexpr int64_t kGridYLimit = 65535;  // of every CUDA device

/// What a kind of kernel wants of its tiles.
struct TilingRule {
  int threads = 0, most_width = 0;             ///< width in units
  int64_t blocks = 0;                          ///< about so many blocks,
  int64_t fewest_visits = 1, most_visits = 1;  ///< as long as a thread visits between so many rows
};

inline RowTiling tile_rows(int64_t rows, int64_t channels, const TilingRule& rule) {
  const int64_t units = ceil_div(channels, kUnit);
  RowTiling tiling;
  tiling.rows = rows;
  tiling.channels = channels;
  tiling.column_blocks = static_cast<int>(ceil_div(units, rule.most_width));
  tiling.width = static_cast<int>(ceil_div(units, tiling.column_blocks));
  tiling.height = rule.threads / tiling.width;
  const int64_t row_blocks = ceil_div(rule.blocks, tiling.column_blocks);
  int64_t visits =
      std::clamp(ceil_div(rows, row_blocks * tiling.height), rule.fewest_visits, rule.most_visits);
  visits = std::max(visits, ceil_div(rows, kGridYLimit * tiling.height));
  tiling.rows_per_block = visits * tiling.height;
  tiling.row_blocks = static_cast<int>(ceil_div(rows, tiling.rows_per_block));
  return tiling;
}

/// What one thread visits: rows row, row + height, ... below end; `count` channels from `channel`.
struct RowSpan {
  int64_t row = 0, end = 0;
  int64_t channel = 0;
  int column = 0;  ///< of `channel` within the block's tile
  int count = 0;   ///< 0 to 8: none for idle threads
};

__device__ __forceinline__ RowSpan row_span(const RowTiling& tiling, unsigned column_block,
                                            unsigned row_block) {
  const int thread = static_cast<int>(threadIdx.x);
  const int slot = thread / tiling.width;
  RowSpan span;
  span.column = (thread - slot * tiling.width) * kUnit;
  span.channel = static_cast<int64_t>(column_block) * tiling.columns() + span.column;
  const int64_t first = static_cast<int64_t>(row_block) * tiling.rows_per_block;
  span.row = first + slot;
  span.end = first + tiling.rows_per_block < tiling.rows ? first + tiling.rows_per_block : tiling.rows;
  const int64_t left = tiling.channels - span.channel;
  span.count = slot >= tiling.height || left <= 0 ? 0 : left < kUnit ? static_cast<int>(left) : kUnit;
  if (span.count == 0) span.end = span.row;
  return span;
}
/// In a launch over RowTiling::grid().
__device__ __forceinline__ RowSpan row_span(const RowTiling& tiling) {
  return row_span(tiling, blockIdx.x, blockIdx.y);
}

/// Per-channel coefficients of a block's tile, in shared memory: vector k of column c is at[k * kColumns +
/// c].
template <int kVectors, int kColumns>
struct Coefficients {
  const float* at;

  __device__ __forceinline__ void load(int vector, int column, float (&values)[kUnit]) const {
    const float4* const src = reinterpret_cast<const float4*>(at + vector * kColumns + column);
    const float4 low = src[0], high = src[1];
    values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
    values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
  }
};

/// Fills `memory` for the block's tile by policy.coefficients(channel, values); ends with a barrier.
template <int kVectors, int kColumns, typename Policy>
__device__ __forceinline__ Coefficients<kVectors, kColumns> stage_coefficients(const RowTiling& tiling,
                                                                               const Policy& policy,
                                                                               float* memory) {
  if constexpr (kVectors > 0) {
    const int64_t first = static_cast<int64_t>(blockIdx.x) * tiling.columns();
    for (int column = static_cast<int>(threadIdx.x); column < tiling.columns();
         column += static_cast<int>(blockDim.x)) {
      float values[kVectors] = {};
      if (first + column < tiling.channels) policy.coefficients(first + column, values);
#pragma unroll
      for (int k = 0; k < kVectors; ++k) memory[k * kColumns + column] = values[k];
    }
    __syncthreads();
  }
  return {memory};
}

inline constexpr int kMapThreads = 256;
inline constexpr int kMapWidth = 32;  // units: 512 bytes of a row in 16-bit types, read in one go by a warp
/// A few waves on every GPU up to some 150 multiprocessors; up to 16 rows share the cost of the coefficients.
inline constexpr TilingRule kMapRule{kMapThreads, kMapWidth, 4096, 1, 16};

/// policy.row(span, row, coefficients) for every unit of the activation. A policy is a struct with kVectors,
/// row() and, when kVectors > 0, coefficients(channel, values).
template <typename Policy>
__global__ void __launch_bounds__(kMapThreads, 2)
    map_rows_kernel(const RowTiling tiling, const Policy policy) {
  grid_dependency_wait();
  grid_dependency_trigger();
  constexpr int kVectors = Policy::kVectors, kColumns = kMapWidth * kUnit;
  SHARED(float, memory, [kVectors > 0 ? kVectors * kColumns : 1]);
  const auto coefficients = stage_coefficients<kVectors, kColumns>(tiling, policy, memory);
  const RowSpan span = row_span(tiling);
  for (int64_t row = span.row; row < span.end; row += tiling.height) policy.row(span, row, coefficients);
}

inline void require_rows(const char* name, const Rows& rows) {
  require_positive(name, "rows", rows.rows);
  require_positive(name, "channels", rows.channels);
}

/// Calls `function` with a value of the element type and a constant that says whether all units are whole.
template <typename Call>
void with_units(Element type, bool whole, const Call& function) {
  with_element(type, [&](auto zero) { with_flag(whole, [&](auto flag) { function(zero, flag); }); });
}
template <typename Call>
void with_rows(const Rows& rows, const Call& function) {
  with_units(rows.type, rows.channels % kUnit == 0, function);
}

/// Launches a map over rows x channels.
template <typename Policy>
void map_rows(const char* name, int64_t rows, int64_t channels, const Policy& policy, Stream stream) {
  const RowTiling tiling = tile_rows(rows, channels, kMapRule);
  launch(name, map_rows_kernel<Policy>, tiling.grid(), dim3(kMapThreads), 0, stream, tiling, policy);
}

}  // namespace residuum::kernels
