// The product of a tile's step: every warp takes left factors from shared memory and adds their products with
// the right factor to its sums; either warp by warp (mma), the right factor coming through registers too, or
// as a warpgroup (wgmma), which reads it from shared memory itself.
#pragma once

#include "kernels/conv/tiles.h"
#include "kernels/device/tile.cuh"

namespace residuum::kernels {

/// Whether a kernel with that tile and product is compiled for the target at hand (platform.cuh): tiles that
/// suit warpgroups have both kinds, and each target one of them.
template <typename T>
constexpr bool compiles_here(TileName name, Product product) {
  if (sizeof(T) != 2 || !suits_warpgroups(name)) return product == Product::kWarp;
  return product == Product::kWarp ? kCompilesWarps : kCompilesWarpgroups;
}

/// Calls function(product) with the constant that the current device wants for the tile.
template <typename T, TileName kName, typename Call>
void with_product(const Call& function) {
  if constexpr (sizeof(T) == 2 && suits_warpgroups(kName)) {
    if (has_warpgroups()) return function(std::integral_constant<Product, Product::kWarpgroup>());
  }
  function(std::integral_constant<Product, Product::kWarp>());
}

/// Chunks of a row of 64 columns.
template <typename T>
inline constexpr int kWarpgroupPanel = 64 / kChunk<T>;

__device__ __forceinline__ unsigned char* aligned_for_wgmma(unsigned char* memory) {
  const SharedAddress address = shared_address(memory), alignment = kFactorAlignment;
  return memory + (alignment - address % alignment) % alignment;
}

/// A warp's columns of a deep tile, from column `first` on, as seen from one lane.
template <typename T, F32Math kMath, int kChunks>
struct DeepFactor {
  using Left = Factor<T, kMath, 4>;
  using Right = Factor<T, kMath, 2>;
  SharedAddress address;
  __device__ __forceinline__ DeepFactor(SharedAddress tile, int first, int lane)
      : address(deep_lane<kChunks>(tile, first + deep_column_of_lane(lane), lane / 8 % 2)) {}
  __device__ __forceinline__ void load(Right& b0, Right& b1, int step, int group) const {
    load_deep_columns<kChunks>(b0, b1, address, step, group);
  }
};
/// The same of a flat tile.
template <typename T, F32Math kMath, int kChunks>
struct FlatFactor {
  using Left = Factor<T, kMath, 4>;
  using Right = Factor<T, kMath, 2>;
  FlatLane<T, kChunks, false> flat;
  __device__ __forceinline__ FlatFactor(SharedAddress tile, int first, int lane) : flat(tile, first, lane) {}
  __device__ __forceinline__ void load(Right& b0, Right& b1, int step, int group) const {
    load_flat_columns(b0, b1, flat, step, group);
  }
};
/// All columns of a tile for a warpgroup: deep ones with kRowBytes a column, flat ones in panels of 64
/// columns, kDepth rows each.
template <typename T, F32Math kMath, bool kFlat, int kRowBytes, int kDepth>
struct WarpgroupFactor {
  using Left = Factor<T, kMath, 4>;
  SharedAddress tile;
  __device__ __forceinline__ WarpgroupFactor(SharedAddress address, int, int) : tile(address) {}
  __device__ __forceinline__ SharedFactor at(int step) const {
    if constexpr (kFlat)
      return {tile + static_cast<SharedAddress>(step * 16 * kRowBytes), kDepth * kRowBytes, 8 * kRowBytes};
    return {tile + static_cast<SharedAddress>(step * 2 * kChunkBytes), 0, 8 * kRowBytes};
  }
  template <int kEights>
  __device__ __forceinline__ void multiply_add(float (&sums)[kEights][4], const uint32_t (&a)[4],
                                               int step) const {
    wgmma<T, kFlat, kRowBytes>(sums, a, at(step));
  }
};

/// sums += left x right over kSteps steps; left(a, step, f) loads the factor of row fragment f.
template <int kSteps, int kRows, int kColumns, typename RightTile, typename LeftTile>
__device__ __forceinline__ void multiply_steps(float (&sums)[kRows][kColumns][4], const RightTile& right,
                                               const LeftTile& left) {
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    typename RightTile::Left a[kRows];
#pragma unroll
    for (int f = 0; f < kRows; ++f) left(a[f], step, f);
#pragma unroll
    for (int q = 0; q < kColumns; q += 2) {
      typename RightTile::Right b0, b1;
      right.load(b0, b1, step, q / 2);
#pragma unroll
      for (int f = 0; f < kRows; ++f) {
        multiply_add(sums[f][q], a[f], b0);
        multiply_add(sums[f][q + 1], a[f], b1);
      }
    }
  }
}
/// The left factors of a step in registers: warpgroups read them until they have waited.
template <typename T, F32Math kMath, int kSteps, int kRows>
struct StepFactors {
  Factor<T, kMath, 4> at[kSteps][kRows];
};

/// The same by warpgroups, started: sums and factors are theirs until finish_products().
template <int kSteps, int kRows, int kColumns, typename T, F32Math kMath, bool kFlat, int kRowBytes,
          int kDepth, typename LeftTile>
__device__ __forceinline__ void start_products(
    float (&sums)[kRows][kColumns][4], StepFactors<T, kMath, kSteps, kRows>& factors,
    const WarpgroupFactor<T, kMath, kFlat, kRowBytes, kDepth>& right, const LeftTile& left) {
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int f = 0; f < kRows; ++f) left(factors.at[step][f], step, f);
  }
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int f = 0; f < kRows; ++f) right.multiply_add(sums[f], factors.at[step][f].words, step);
  }
  wgmma_commit();
}
/// The same with left factors from a deep tile in shared memory: `rows` are the first of a warpgroup's 64.
template <int kSteps, int kLeftBytes, int kColumns, typename T, F32Math kMath, bool kFlat, int kRowBytes,
          int kDepth>
__device__ __forceinline__ void start_products(
    float (&sums)[1][kColumns][4], SharedAddress rows,
    const WarpgroupFactor<T, kMath, kFlat, kRowBytes, kDepth>& right) {
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const SharedFactor left{rows + static_cast<SharedAddress>(step * 2 * kChunkBytes), 0, 8 * kLeftBytes};
    wgmma<T, kFlat, kRowBytes, kLeftBytes>(sums[0], left, right.at(step));
  }
  wgmma_commit();
}

/// Waits for all products that were started.
template <int kRows, int kColumns>
__device__ __forceinline__ void finish_products(float (&sums)[kRows][kColumns][4]) {
  wgmma_wait();
#pragma unroll
  for (int f = 0; f < kRows; ++f) hold_registers(sums[f]);
}
template <int kRows, int kColumns, typename T, F32Math kMath, int kSteps>
__device__ __forceinline__ void finish_products(float (&sums)[kRows][kColumns][4],
                                                StepFactors<T, kMath, kSteps, kRows>& factors) {
  finish_products(sums);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int f = 0; f < kRows; ++f) hold_registers(factors.at[step][f].words);
  }
}

/// The same by warpgroups; ends when all is done.
template <int kSteps, int kRows, int kColumns, typename T, F32Math kMath, bool kFlat, int kRowBytes,
          int kDepth, typename LeftTile>
__device__ __forceinline__ void multiply_steps(
    float (&sums)[kRows][kColumns][4], const WarpgroupFactor<T, kMath, kFlat, kRowBytes, kDepth>& right,
    const LeftTile& left) {
  StepFactors<T, kMath, kSteps, kRows> factors;
  start_products(sums, factors, right, left);
  finish_products(sums, factors);
}

}  // namespace residuum::kernels
