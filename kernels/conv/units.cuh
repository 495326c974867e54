// How the sums that a warp holds after a product become units of eight channels of one pixel, and how sums
// over pixels are added across its lanes. A lane has two neighbouring columns of rows lane / 4 and lane / 4 +
// 8 of every eight columns; the four lanes of a quad together have whole units. Registers only: nothing here
// waits for another warp.
#pragma once

#include "kernels/device/reduce.cuh"
#include "kernels/device/vector.cuh"

namespace residuum::kernels {

inline constexpr int kQuad = 4, kQuadColumns = kQuad * kUnit;

/// Of 32 neighbouring columns of a product, the channel that column `column` shall have for the eight values
/// of a lane to be a unit: 8 q + 2 j + e, held by lane j of a quad, is channel 8 j + 2 q + e. For any column,
/// within its own 32.
__device__ __forceinline__ int channel_of_column(int column) {
  const unsigned of_all = static_cast<unsigned>(column);
  return (column & ~(kQuadColumns - 2)) | static_cast<int>(of_all / 2 % 4 * 8 | of_all / 8 % 4 * 2);
}

/// Lane j of each quad gives pair u to lane u and gets pair j of all four.
__device__ __forceinline__ void exchange_in_quad(float2 (&pairs)[kQuad], int lane) {
  const auto swap = [](float2& first, float2& second, bool keeps_second, int distance) {
    const float2 sent = keeps_second ? first : second;
    const float2 got = make_float2(__shfl_xor_sync(kFullWarp, sent.x, distance),
                                   __shfl_xor_sync(kFullWarp, sent.y, distance));
    first = keeps_second ? got : first;
    second = keeps_second ? second : got;
  };
  const bool upper_two = (lane & 2) != 0, upper_one = (lane & 1) != 0;
  swap(pairs[0], pairs[2], upper_two, 2);
  swap(pairs[1], pairs[3], upper_two, 2);
  swap(pairs[0], pairs[1], upper_one, 1);
  swap(pairs[2], pairs[3], upper_one, 1);
}

/// Adds values over the eight lanes with the same place in their quad: lane gets the total of value lane / 4.
__device__ __forceinline__ float sum_over_quads(const float (&values)[kUnit], int lane) {
  float four[4], two[2];
  const bool upper_four = (lane & 16) != 0, upper_two = (lane & 8) != 0, upper_one = (lane & 4) != 0;
  const auto fold = [](float lower, float upper, bool keeps_upper, int distance) {
    const float got = __shfl_xor_sync(kFullWarp, keeps_upper ? lower : upper, distance);
    return (keeps_upper ? upper : lower) + got;
  };
#pragma unroll
  for (int i = 0; i < 4; ++i) four[i] = fold(values[i], values[i + 4], upper_four, 16);
#pragma unroll
  for (int i = 0; i < 2; ++i) two[i] = fold(four[i], four[i + 2], upper_two, 8);
  return fold(two[0], two[1], upper_one, 4);
}

/// The sums of a warp of kFragments times eight columns as units. kPermuted: its columns are channels in the
/// order of channel_of_column().
template <int kFragments, bool kPermuted>
class WarpUnits {
 public:
  /// Sixteen columns are one unit a lane for each row fragment; 32 and more are two (rows lane / 4 and eight
  /// further) of each 32 columns.
  static constexpr bool kSlim = kFragments == 2;
  static constexpr int kGroups = kSlim ? 1 : kFragments / kQuad, kHalves = kSlim ? 1 : 2;
  static_assert(kSlim || kFragments % kQuad == 0);
  static_assert(!kSlim || !kPermuted);

  /// Row (within sixteen) and column of the lane's unit.
  __device__ __forceinline__ static int row(int lane, int h) {
    return lane / 4 + 8 * (kSlim ? lane % 4 / 2 : h);
  }
  __device__ __forceinline__ static int column(int lane, int group) {
    return kSlim ? lane % 2 * kUnit : group * kQuadColumns + lane % 4 * kUnit;
  }
  __device__ __forceinline__ static void take(const float (&sums)[kFragments][4], int h, int lane,
                                              float (&values)[kUnit]) {
    float2 pairs[kQuad];
#pragma unroll
    for (int u = 0; u < kQuad; ++u) {
      const float* const pair = sums[fragment_of(u)] + 2 * rows_of(h, u);
      pairs[u] = make_float2(pair[0], pair[1]);
    }
    if constexpr (!kPermuted) exchange_in_quad(pairs, lane);
#pragma unroll
    for (int u = 0; u < kQuad; ++u) values[2 * u] = pairs[u].x, values[2 * u + 1] = pairs[u].y;
  }
  /// Leaves a unit in the place of the sums that it was taken from, and finds it there.
  __device__ __forceinline__ static void put(const float (&values)[kUnit], int h,
                                             float (&sums)[kFragments][4]) {
#pragma unroll
    for (int u = 0; u < kQuad; ++u) {
      float* const pair = sums[fragment_of(u)] + 2 * rows_of(h, u);
      pair[0] = values[2 * u], pair[1] = values[2 * u + 1];
    }
  }
  struct Unit {
    float at[kUnit];
  };
  __device__ __forceinline__ static Unit got(const float (&sums)[kFragments][4], int h) {
    Unit unit;
#pragma unroll
    for (int u = 0; u < kQuad; ++u) {
      const float* const pair = sums[fragment_of(u)] + 2 * rows_of(h, u);
      unit.at[2 * u] = pair[0], unit.at[2 * u + 1] = pair[1];
    }
    return unit;
  }
  /// Brings the next group's sums to the front, where units are taken from.
  __device__ __forceinline__ static void next_group(float (&sums)[kFragments][4]) {
#pragma unroll
    for (int q = kQuad; q < kFragments; ++q) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[q - kQuad][i] = sums[q][i];
    }
  }
  /// Adds values over the rows of the warp: the total of channel column() + lane / 4.
  __device__ __forceinline__ static float total(float (&values)[kUnit], int lane) {
    if constexpr (kSlim) {
#pragma unroll
      for (int i = 0; i < kUnit; ++i) values[i] += __shfl_xor_sync(kFullWarp, values[i], 2);
    }
    return sum_over_quads(values, lane);
  }
  /// Whether the lane's totals are the first of their column: of sixteen columns, two lanes of a quad have
  /// the same.
  __device__ __forceinline__ static bool owns_total(int lane) {
    return !kSlim || lane % 4 < 2;
  }
  /// The column of the pair that a lane holds of rows lane / 4 and further in fragment `fragment`.
  __device__ __forceinline__ static int column_of_pair(int lane, int fragment) {
    const int column = 8 * fragment + lane % 4 * 2;
    return kPermuted ? channel_of_column(column) : column;
  }

 private:
  /// Where pair u of a lane's unit comes from: eight columns, and which of the two rows.
  __device__ __forceinline__ static int fragment_of(int u) {
    return kSlim ? u % 2 : u;
  }
  __device__ __forceinline__ static int rows_of(int h, int u) {
    return kSlim ? u / 2 : h;
  }
};

}  // namespace residuum::kernels
