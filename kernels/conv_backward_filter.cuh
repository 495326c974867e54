// Convolution backward-filter as a matrix product on tensor cores: rows are output channels, columns the
// elements (r, s, c) of a kernel, the sum runs over output pixels. The pixels are cut into pieces that blocks
// sum independently; partial results are added in the order of the pieces, so the bits are the same in every
// run. Columns keep their place in the kernel from step to step, so a thread works out (r, s, c) once.
#pragma once

#include "kernels/conv_tiles.h"
#include "kernels/device/divider.h"
#include "kernels/device/tile.cuh"

namespace residuum::kernels {

struct FilterGeometry {
  int src_h = 0, src_w = 0, src_c = 0, dst_c = 0;
  int kernel_w = 0, stride = 1, pad = 0;
  int rows = 0, columns = 0, depth_c = 0;  ///< of one group: output channels; r*s*c; input channels
  int pixels = 0, pieces = 1, steps_per_piece = 0;
  bool same_pixels = false;  ///< 1x1, stride 1: output pixel m reads source pixel m
  Divider image, line;       ///< by p*q, by q

  FilterGeometry(const ConvProblem& problem, const Tile& tile) {
    const ConvShape& s = problem.shape;
    const auto whole = [](int64_t value) { return static_cast<int>(value); };
    src_h = whole(s.h), src_w = whole(s.w), src_c = whole(s.c), dst_c = whole(s.k);
    kernel_w = whole(s.s), stride = whole(s.stride), pad = whole(s.pad);
    rows = whole(s.k / s.groups), depth_c = whole(s.c / s.groups);
    columns = whole(s.r * s.s) * depth_c;
    pixels = whole(s.n * s.p() * s.q());
    pieces = filter_pieces(problem);
    const int steps = (pixels + tile.depth - 1) / tile.depth;
    steps_per_piece = (steps + pieces - 1) / pieces;
    same_pixels = s.r == 1 && s.s == 1 && s.stride == 1 && s.pad == 0;
    image = Divider(s.p() * s.q());
    line = Divider(s.q());
  }
};

template <TileName kName, typename T, F32Math kMath, bool kAligned>
class FilterBlock {
 public:
  __device__ __forceinline__ FilterBlock(const FilterGeometry& g, const T* d_dst, const T* src,
                                         unsigned char* shared)
      : g_(g), d_dst_(d_dst), src_(src), shared_(shared) {
    first_column_ = static_cast<int>(blockIdx.x) * kTile.columns;
    first_row_ = static_cast<int>(blockIdx.y) * kTile.rows;
    piece_ = static_cast<int>(blockIdx.z) % g.pieces;
    group_ = static_cast<int>(blockIdx.z) / g.pieces;
    d_dst_ += group_ * g.rows;
    src_ += group_ * g.depth_c;
  }

  /// Sums this block's piece into partial[piece][all output channels][columns].
  __device__ __forceinline__ void run(float* partial, int64_t partial_elements) {
    find_columns();
    sum();
    store(partial + piece_ * partial_elements + static_cast<int64_t>(group_) * g_.rows * g_.columns);
  }

 private:
  static constexpr Tile kTile = tile_of(kName);
  static constexpr int kThreads = kTile.threads();
  static constexpr int kRowChunks = kTile.rows / kChunk<T>, kColumnChunks = kTile.columns / kChunk<T>;
  static constexpr int kRowBytes = kTile.depth * kRowChunks * kChunkBytes;
  static constexpr int kStageBytes = kRowBytes + kTile.depth * kColumnChunks * kChunkBytes;
  static constexpr int kRowFragments = kTile.warp_rows() / 16, kColumnFragments = kTile.warp_columns() / 8;
  static constexpr int kAhead = kTile.stages - 1;
  /// Rows that all threads copy at once; whole periods of the swizzle, so that a thread's chunk stays in
  /// place.
  static constexpr int kRowPass = kThreads / kRowChunks, kColumnPass = kThreads / kColumnChunks;
  static constexpr int kNoTap = -(1 << 20);
  static constexpr int kColumnsOfThread = kAligned ? 1 : kChunk<T>;
  using FactorA = Factor<T, kMath, 4>;
  using FactorB = Factor<T, kMath, 2>;

  __device__ __forceinline__ static int thread() { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ static int lane() { return thread() % 32; }
  __device__ __forceinline__ static int warp() { return thread() / 32; }
  __device__ __forceinline__ static int warp_row() { return warp() / kTile.warps_n * kTile.warp_rows(); }
  __device__ __forceinline__ static int warp_column() {
    return warp() % kTile.warps_n * kTile.warp_columns();
  }

  /// Kernel element of each column (aligned: of the first of a chunk) this thread copies: distance of its tap
  /// from the pixel, and its channel; columns beyond the last are never inside the image.
  __device__ __forceinline__ void find_columns() {
#pragma unroll
    for (int i = 0; i < kColumnsOfThread; ++i) {
      const int column = first_column_ + thread() % kColumnChunks * kChunk<T> + i;
      const int tap = column / g_.depth_c;
      const bool exists = column < g_.columns;
      tap_h_[i] = exists ? tap / g_.kernel_w - g_.pad : kNoTap;
      tap_w_[i] = tap % g_.kernel_w - g_.pad;
      channel_[i] = column % g_.depth_c;
    }
  }

  __device__ __forceinline__ void load(int step, int slot) {
    unsigned char* const stage = shared_ + slot * kStageBytes;
    const int first_pixel = (piece_ * g_.steps_per_piece + step) * kTile.depth;
    load_d_dst(stage, first_pixel);
    load_src(stage + kRowBytes, first_pixel);
  }

  __device__ __forceinline__ void load_d_dst(unsigned char* tile, int first_pixel) {
    const int first = thread() / kRowChunks, chunk = thread() % kRowChunks;
    const int row = first_row_ + chunk * kChunk<T>, pixel = first_pixel + first;
    unsigned char* const to = tile + chunk_offset<kRowChunks>(first, chunk);
    const T* from = d_dst_ + static_cast<int64_t>(pixel) * g_.dst_c + row;
#pragma unroll
    for (int pass = 0; pass < kTile.depth; pass += kRowPass) {
      if (kRowPass > kTile.depth && first >= kTile.depth) break;
      const bool exists = pixel + pass < g_.pixels;
      unsigned char* const dst = to + pass * kRowChunks * kChunkBytes;
      if constexpr (kAligned) {
        cp_async_16(shared_address(dst), from, exists && row < g_.rows);
      } else {
        store_partial_chunk(dst, from, 0, exists ? g_.rows - row : 0);
      }
      from += static_cast<int64_t>(kRowPass) * g_.dst_c;
    }
  }

  __device__ __forceinline__ void load_src(unsigned char* tile, int first_pixel) {
    const int first = thread() / kColumnChunks, chunk = thread() % kColumnChunks;
    unsigned char* const to = tile + chunk_offset<kColumnChunks>(first, chunk);
#pragma unroll
    for (int pass = 0; pass < kTile.depth; pass += kColumnPass) {
      if (kColumnPass > kTile.depth && first >= kTile.depth) break;
      load_pixel(to + pass * kColumnChunks * kChunkBytes, first_pixel + first + pass);
    }
  }

  /// This thread's columns of one output pixel.
  __device__ __forceinline__ void load_pixel(unsigned char* to, int m) {
    const bool exists = m < g_.pixels;
    int image = 0, h = 0, w = 0;
    if (!(kAligned && g_.same_pixels)) {
      const auto [n, pixel] = g_.image.split(static_cast<uint32_t>(m));
      const auto [y, x] = g_.line.split(pixel);
      image = static_cast<int>(n);
      h = static_cast<int>(y) * g_.stride, w = static_cast<int>(x) * g_.stride;
    }
    if constexpr (kAligned) {
      int pixel = m;
      bool inside = tap_h_[0] > kNoTap;
      if (!g_.same_pixels) inside = find_pixel(image, h + tap_h_[0], w + tap_w_[0], pixel);
      cp_async_16(shared_address(to), src_ + static_cast<int64_t>(pixel) * g_.src_c + channel_[0],
                  exists && inside);
    } else {
      alignas(kChunkBytes) T values[kChunk<T>];
#pragma unroll
      for (int i = 0; i < kChunk<T>; ++i) {
        int pixel = 0;
        const bool inside = exists && find_pixel(image, h + tap_h_[i], w + tap_w_[i], pixel);
        values[i] = inside ? src_[static_cast<int64_t>(pixel) * g_.src_c + channel_[i]] : from_float<T>(0.0f);
      }
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(values);
    }
  }

  __device__ __forceinline__ bool find_pixel(int image, int h, int w, int& pixel) const {
    pixel = (image * g_.src_h + h) * g_.src_w + w;
    return static_cast<unsigned>(h) < static_cast<unsigned>(g_.src_h) &&
           static_cast<unsigned>(w) < static_cast<unsigned>(g_.src_w);
  }

  __device__ __forceinline__ void sum() {
    clear(sums_);
    const int all_steps = (g_.pixels + kTile.depth - 1) / kTile.depth;
    const int steps = min(g_.steps_per_piece, all_steps - piece_ * g_.steps_per_piece);
    int ahead_slot = 0, slot = 0;
    for (int step = 0; step < kAhead; ++step) {
      if (step < steps) load(step, ahead_slot);
      ++ahead_slot;
      cp_async_commit();
    }
    for (int step = 0; step < steps; ++step) {
      cp_async_wait<kAhead - 1>();
      // A prologue transforms both tiles here, each thread what it copied itself.
      __syncthreads();
      if (step + kAhead < steps) load(step + kAhead, ahead_slot);
      if (++ahead_slot == kTile.stages) ahead_slot = 0;
      cp_async_commit();
      multiply(slot);
      if (++slot == kTile.stages) slot = 0;
    }
    cp_async_wait<0>();
  }

  __device__ __forceinline__ void multiply(int slot) {
    const SharedAddress tile = shared_address(shared_ + slot * kStageBytes);
    const FlatLane<T, kRowChunks, true> rows(tile, warp_row(), lane());
    const FlatLane<T, kColumnChunks, false> columns(tile + kRowBytes, warp_column(), lane());
#pragma unroll
    for (int step = 0; step < kTile.depth / FactorA::kDepth; ++step) {
      FactorA a[kRowFragments];
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) {
        load_flat_rows(a[f], rows, step, f);
      }
#pragma unroll
      for (int q = 0; q < kColumnFragments; q += 2) {
        FactorB b0, b1;
        load_flat_columns(b0, b1, columns, step, q / 2);
#pragma unroll
        for (int f = 0; f < kRowFragments; ++f) {
          multiply_add(sums_[f][q], a[f], b0);
          multiply_add(sums_[f][q + 1], a[f], b1);
        }
      }
    }
  }

  __device__ __forceinline__ void store(float* d_weight) const {
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) {
#pragma unroll
      for (int q = 0; q < kColumnFragments; ++q) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = first_row_ + warp_row() + 16 * f + lane() / 4 + 8 * (i >> 1);
          const int column = first_column_ + warp_column() + 8 * q + lane() % 4 * 2 + (i & 1);
          if (row < g_.rows && column < g_.columns) {
            d_weight[static_cast<int64_t>(row) * g_.columns + column] = sums_[f][q][i];
          }
        }
      }
    }
  }

  const FilterGeometry& g_;
  const T* d_dst_;
  const T* src_;
  unsigned char* shared_;
  int first_column_, first_row_, piece_, group_;
  int tap_h_[kColumnsOfThread], tap_w_[kColumnsOfThread], channel_[kColumnsOfThread];
  float sums_[kRowFragments][kColumnFragments][4];
};

template <TileName kName, typename T, F32Math kMath, bool kAligned>
__global__ void __launch_bounds__(tile_of(kName).threads(), tile_of(kName).blocks)
    conv_backward_filter_kernel(const FilterGeometry g, const T* d_dst, const T* src, float* partial,
                                int64_t partial_elements) {
  DYNAMIC_SHARED(shared);
  FilterBlock<kName, T, kMath, kAligned>(g, d_dst, src, shared).run(partial, partial_elements);
}

template <TileName kName, typename T, F32Math kMath, bool kAligned>
void launch_filter_tile(const ConvProblem& problem, const T* d_dst, const T* src, float* partial,
                        Stream stream) {
  constexpr Tile kTile = tile_of(kName);
  const FilterGeometry g(problem, kTile);
  const auto tiles = [](int extent, int size) { return static_cast<unsigned>((extent + size - 1) / size); };
  constexpr size_t kShared = sizeof(T) * kTile.stages * kTile.depth * (kTile.rows + kTile.columns);
  launch("conv_backward_filter", conv_backward_filter_kernel<kName, T, kMath, kAligned>,
         dim3(tiles(g.columns, kTile.columns), tiles(g.rows, kTile.rows),
              static_cast<unsigned>(problem.shape.groups * g.pieces)),
         dim3(kTile.threads()), kShared, stream, g, d_dst, src, partial, problem.shape.weight_elements());
}

/// Partial results of conv_backward_filter in one element type; conv_TYPE.cu instantiates it.
template <typename T, F32Math kMath>
void launch_filter(const ConvProblem& problem, const T* d_dst, const T* src, float* partial, Stream stream) {
  if constexpr (sizeof(T) == 4) {
    return is_aligned(problem) ? launch_filter_tile<TileName::kFilterF32, T, kMath, true>(problem, d_dst, src,
                                                                                          partial, stream)
                               : launch_filter_tile<TileName::kFilterF32, T, kMath, false>(
                                     problem, d_dst, src, partial, stream);
  } else {
    const TileName tile = filter_tile(problem);
    if (tile == TileName::kFilterWide)
      return launch_filter_tile<TileName::kFilterWide, T, kMath, true>(problem, d_dst, src, partial, stream);
    if (tile == TileName::kFilterSquare)
      return launch_filter_tile<TileName::kFilterSquare, T, kMath, true>(problem, d_dst, src, partial,
                                                                         stream);
    if (tile == TileName::kFilterSlim)
      return launch_filter_tile<TileName::kFilterSlim, T, kMath, true>(problem, d_dst, src, partial, stream);
    return launch_filter_tile<TileName::kFilterPacked, T, kMath, false>(problem, d_dst, src, partial, stream);
  }
}

}  // namespace residuum::kernels
