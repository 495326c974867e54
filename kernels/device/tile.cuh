// Tiles in shared memory and the fragments that tensor cores take from them. A tile is rows of 16-byte
// chunks; chunk c of row r lies at position c ^ swizzle(r), so that the eight rows an ldmatrix reads fall
// into different banks. "Deep" tiles have the summed index along a row (rows x depth); "flat" ones have it
// across the rows (depth x columns), as tensors with channels last give them to sums over pixels.
#pragma once

#include "kernels/device/element.cuh"
#include "kernels/device/platform.cuh"

namespace residuum::kernels {

inline constexpr int kChunkBytes = 16;

/// Elements of T in a chunk.
template <typename T>
inline constexpr int kChunk = kChunkBytes / static_cast<int>(sizeof(T));

/// What the chunk numbers of row `row` are XORed with, in a tile of `kChunks` (2, 4, 8 or 16) chunks a row.
/// Eight chunks are all 32 banks: rows that start in the same bank get different masks.
template <int kChunks>
__device__ __forceinline__ int swizzle(int row) {
  constexpr int kRowsPerSweep = kChunks >= 8 ? 1 : 8 / kChunks;
  constexpr int kMask = kChunks >= 8 ? 7 : kChunks - 1;
  return (row / kRowsPerSweep) & kMask;
}

/// Byte offset of a chunk in a tile.
template <int kChunks>
__device__ __forceinline__ int chunk_offset(int row, int chunk) {
  return (row * kChunks + (chunk ^ swizzle<kChunks>(row))) * kChunkBytes;
}

/// Reads a chunk of `kChunk<T>` elements from `src`, those before `begin` and from `end` on as zeros.
template <typename T>
__device__ __forceinline__ void store_partial_chunk(unsigned char* dst, const T* src, int begin, int end) {
  alignas(kChunkBytes) T values[kChunk<T>];
#pragma unroll
  for (int i = 0; i < kChunk<T>; ++i) values[i] = i >= begin && i < end ? src[i] : from_float<T>(0.0f);
  *reinterpret_cast<uint4*>(dst) = *reinterpret_cast<const uint4*>(values);
}

/// One factor of an mma in the words of one lane: kWords of them, 4 of the left factor or 2 of the right.
/// prepare() turns words as they were stored into what multiply_add wants.
template <typename T, F32Math kMath, int kWords>
struct Factor {
  static constexpr int kDepth = 16;  ///< terms of the sum in one mma
  uint32_t words[kWords];
  __device__ __forceinline__ void prepare() {}
};
template <int kWords>
struct Factor<float, F32Math::kTf32, kWords> {
  static constexpr int kDepth = 8;
  uint32_t words[kWords];
  __device__ __forceinline__ void prepare() {
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = round_to_tf32(__uint_as_float(words[i]));
  }
};
template <int kWords>
struct Factor<float, F32Math::kTf32x3, kWords> {
  static constexpr int kDepth = 8;
  uint32_t words[kWords], rest[kWords];  ///< value = words + rest, nearly
  __device__ __forceinline__ void prepare() {
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const float value = __uint_as_float(words[i]);
      words[i] = round_to_tf32(value);
      rest[i] = round_to_tf32(value - __uint_as_float(words[i]));
    }
  }
};

template <F32Math kMath>
__device__ __forceinline__ void multiply_add(float (&c)[4], const Factor<bf16, kMath, 4>& a,
                                             const Factor<bf16, kMath, 2>& b) {
  mma_bf16(c, a.words, b.words[0], b.words[1]);
}
template <F32Math kMath>
__device__ __forceinline__ void multiply_add(float (&c)[4], const Factor<f16, kMath, 4>& a,
                                             const Factor<f16, kMath, 2>& b) {
  mma_f16(c, a.words, b.words[0], b.words[1]);
}
__device__ __forceinline__ void multiply_add(float (&c)[4], const Factor<float, F32Math::kTf32, 4>& a,
                                             const Factor<float, F32Math::kTf32, 2>& b) {
  mma_tf32(c, a.words, b.words[0], b.words[1]);
}
__device__ __forceinline__ void multiply_add(float (&c)[4], const Factor<float, F32Math::kTf32x3, 4>& a,
                                             const Factor<float, F32Math::kTf32x3, 2>& b) {
  // The small products first, so that they are not lost beside the large one.
  mma_tf32(c, a.rest, b.words[0], b.words[1]);
  mma_tf32(c, a.words, b.rest[0], b.rest[1]);
  mma_tf32(c, a.words, b.words[0], b.words[1]);
}

/// Sums of a warp's fragments start at zero.
template <int kRows, int kColumns>
__device__ __forceinline__ void clear(float (&sums)[kRows][kColumns][4]) {
#pragma unroll
  for (int f = 0; f < kRows; ++f) {
#pragma unroll
    for (int q = 0; q < kColumns; ++q) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[f][q][i] = 0;
    }
  }
}

/// The same element of another pixel: one multiplication. What a walk gives for a pixel outside is not read.
template <typename T>
__device__ __forceinline__ const void* pixel_of(const T* element, unsigned pixel, unsigned pitch) {
  return reinterpret_cast<const unsigned char*>(element) + uint64_t{pixel} * pitch;
}

/// Where one lane's part of an ldmatrix on a deep tile begins: chunk `chunk` (0 or 1) of row `row`. A step of
/// the sum later lie two chunks more, and as rows are aligned to their length that is one XOR.
template <int kChunks>
__device__ __forceinline__ SharedAddress deep_lane(SharedAddress tile, int row, int chunk) {
  return tile + static_cast<SharedAddress>(chunk_offset<kChunks>(row, chunk));
}
__device__ __forceinline__ SharedAddress deep_step(SharedAddress lane, int step) {
  return lane ^ static_cast<SharedAddress>(2 * kChunkBytes * step);
}

/// The left factor, rows x depth, from a deep tile: lane l is at row l % 16, chunk l / 16.
template <typename Factor4>
__device__ __forceinline__ void load_deep_rows(Factor4& a, SharedAddress lane, int step) {
  ldmatrix_x4(a.words, deep_step(lane, step));
  a.prepare();
}

/// Two right factors, depth x 8 columns each, from a deep tile, sixteen rows (columns of the product) times
/// `group` further: lane l is at row l % 8 + 8 (l / 16), chunk l / 8 % 2.
template <int kChunks, typename Factor2>
__device__ __forceinline__ void load_deep_columns(Factor2& b0, Factor2& b1, SharedAddress lane, int step,
                                                  int group) {
  uint32_t words[4];
  ldmatrix_x4(words, deep_step(lane, step) + static_cast<SharedAddress>(group * 16 * kChunks * kChunkBytes));
  b0.words[0] = words[0], b0.words[1] = words[1];
  b1.words[0] = words[2], b1.words[1] = words[3];
  b0.prepare();
  b1.prepare();
}
__device__ __forceinline__ int deep_column_of_lane(int lane) {
  return lane % 8 + 8 * (lane / 16);
}

/// 32-bit element (row, column) of a flat tile of floats: there is no transposing ldmatrix for 32 bits.
template <int kChunks>
__device__ __forceinline__ uint32_t flat_word(SharedAddress tile, int row, int column) {
  return load_shared_32(tile +
                        static_cast<SharedAddress>(chunk_offset<kChunks>(row, column / 4) + column % 4 * 4));
}

/// One warp's columns of a flat tile (depth x columns) of T, seen from one lane: the right factors of a
/// product, or, as rows, the left ones. `first` is a multiple of the warp's columns, a power of two, so that
/// sixteen columns more are one XOR; a step of the sum is a whole number of swizzle periods.
template <typename T, int kChunks, bool kLeft>
struct FlatLane {
  SharedAddress address;  ///< 16-bit: of this lane's part of the first ldmatrix; f32: of the tile
  int first, lane;

  __device__ __forceinline__ FlatLane(SharedAddress tile, int first_column, int lane_number)
      : address(tile), first(first_column), lane(lane_number) {
    if constexpr (sizeof(T) == 2) {
      // Left: matrices side by side, then below; right: below, then side by side.
      const int depth = kLeft ? lane % 8 + 8 * (lane / 16) : lane % 16;
      const int chunk = first / kChunk<T> + (kLeft ? lane / 8 % 2 : lane / 16);
      address += static_cast<SharedAddress>(chunk_offset<kChunks>(depth, chunk));
    }
  }

  /// The words of sixteen columns times `group` further.
  __device__ __forceinline__ void load(uint32_t (&words)[4], int step, int group) const {
    if constexpr (sizeof(T) == 2) {
      ldmatrix_x4_transposed(words, (address ^ static_cast<SharedAddress>(2 * kChunkBytes * group)) +
                                        static_cast<SharedAddress>(step * 16 * kChunks * kChunkBytes));
    } else {
      const int column = first + 16 * group + lane / 4, depth = 8 * step + lane % 4;
#pragma unroll
      for (int h = 0; h < 4; ++h) {
        const int half = kLeft ? h & 1 : h >> 1, below = kLeft ? h >> 1 : h & 1;
        words[h] = flat_word<kChunks>(address, depth + 4 * below, column + 8 * half);
      }
    }
  }
};

template <typename T, int kChunks, typename Factor4>
__device__ __forceinline__ void load_flat_rows(Factor4& a, const FlatLane<T, kChunks, true>& lane, int step,
                                               int group) {
  lane.load(a.words, step, group);
  a.prepare();
}

template <typename T, int kChunks, typename Factor2>
__device__ __forceinline__ void load_flat_columns(Factor2& b0, Factor2& b1,
                                                  const FlatLane<T, kChunks, false>& lane, int step,
                                                  int group) {
  uint32_t words[4];
  lane.load(words, step, group);
  b0.words[0] = words[0], b0.words[1] = words[1];
  b1.words[0] = words[2], b1.words[1] = words[3];
  b0.prepare();
  b1.prepare();
}

}  // namespace residuum::kernels
