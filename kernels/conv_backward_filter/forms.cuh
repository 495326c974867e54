// Tensors that backward-filter forms on the fly (Form::kGradient, Form::kApply): the coefficients of a tile's
// columns in shared memory, and the arithmetic, which gives the bits that batch_norm_backward_apply and
// batch_norm_apply would have stored.
#pragma once

#include <type_traits>

#include "kernels/device/batch_norm.cuh"
#include "kernels/device/tile.cuh"

namespace residuum::kernels {

/// A chunk as it lies in memory.
template <typename T>
struct alignas(kChunkBytes) ChunkOf {
  T at[kChunk<T>];
};

/// kVectors coefficients of each of kColumns columns, in shared memory: [vector][quad of a chunk][chunk] of
/// four floats, so that lanes with chunks side by side read without conflicts.
template <typename T, int kVectors, int kColumns>
class FormTable {
 public:
  static constexpr int kFloats = kVectors * kColumns;

  __device__ __forceinline__ explicit FormTable(float* memory) : memory_(memory) {}
  __device__ __forceinline__ float& at(int vector, int column) const {
    const int chunk = column / kChunk<T>, quad = column % kChunk<T> / 4;
    return memory_[4 * place(vector, quad, chunk) + column % 4];
  }
  __device__ __forceinline__ float4 load(int vector, int quad, int chunk) const {
    return reinterpret_cast<const float4*>(memory_)[place(vector, quad, chunk)];
  }

 private:
  __device__ __forceinline__ static int place(int vector, int quad, int chunk) {
    return (vector * (kChunk<T> / 4) + quad) * (kColumns / kChunk<T>)+chunk;
  }
  float* memory_;
};

__device__ __forceinline__ float form_gradient(float dy, float x, float of_dy, float of_x, float constant) {
  return fmaf(of_dy, dy, fmaf(of_x, x, constant));
}
__device__ __forceinline__ float form_apply(float x, float scale, float shift, bool relu) {
  const float y = fmaf(x, scale, shift);
  return !relu || gate_open(y) ? y : 0.0f;
}

/// Two neighbours of a chunk, by whole words: shifts and masks of 16-bit halves take an instruction less.
template <typename T>
__device__ __forceinline__ void widen_two(const T* at, float (&values)[2]) {
  if constexpr (std::is_same_v<T, bf16>) {
    const uint32_t word = *reinterpret_cast<const uint32_t*>(at);
    values[0] = __uint_as_float(word << 16), values[1] = __uint_as_float(word & 0xFFFF0000u);
  } else {
    values[0] = to_float(at[0]), values[1] = to_float(at[1]);
  }
}
/// narrow_pair() of what a ReLU leaves of two values.
template <typename T>
__device__ __forceinline__ void narrow_rectified(float first, float second, T* dst) {
  if constexpr (sizeof(T) == 2) {
    uint32_t& pair = *reinterpret_cast<uint32_t*>(dst);
    pair = std::is_same_v<T, bf16> ? rectified_pair_bf16(first, second) : rectified_pair_f16(first, second);
  } else {
    narrow_pair(gate_open(first) ? first : 0.0f, gate_open(second) ? second : 0.0f, dst);
  }
}

__device__ __forceinline__ float component(const float4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/// dy = the gradient that kGradient forms of chunks dy and x of one column of a tile.
template <typename T, int kCount, int kColumns>
__device__ __forceinline__ void form_gradients(ChunkOf<T> (&dy)[kCount], const ChunkOf<T> (&x)[kCount],
                                               const FormTable<T, 3, kColumns>& table, int chunk) {
#pragma unroll
  for (int quad = 0; quad < kChunk<T> / 4; ++quad) {
    const float4 of_dy = table.load(0, quad, chunk), of_x = table.load(1, quad, chunk),
                 constant = table.load(2, quad, chunk);
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        float of[2], second[2];
        widen_two(dy[n].at + 4 * quad + i, of);
        widen_two(x[n].at + 4 * quad + i, second);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          of[h] = form_gradient(of[h], second[h], component(of_dy, i + h), component(of_x, i + h),
                                component(constant, i + h));
        }
        narrow_pair(of[0], of[1], dy[n].at + 4 * quad + i);
      }
    }
  }
}

/// x = what kApply forms of it; the first two vectors of the table are scale and shift.
template <bool kRelu, typename T, int kCount, int kVectors, int kColumns>
__device__ __forceinline__ void form_affine(ChunkOf<T> (&x)[kCount],
                                            const FormTable<T, kVectors, kColumns>& table, int chunk) {
#pragma unroll
  for (int quad = 0; quad < kChunk<T> / 4; ++quad) {
    const float4 scale = table.load(0, quad, chunk), shift = table.load(1, quad, chunk);
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
#pragma unroll
      for (int i = 0; i < 4; i += 2) {
        T* const at = x[n].at + 4 * quad + i;
        float y[2];
        widen_two(at, y);
#pragma unroll
        for (int h = 0; h < 2; ++h) y[h] = fmaf(y[h], component(scale, i + h), component(shift, i + h));
        if constexpr (kRelu) {
          narrow_rectified(y[0], y[1], at);
        } else {
          narrow_pair(y[0], y[1], at);
        }
      }
    }
  }
}
template <typename T, int kCount, int kVectors, int kColumns>
__device__ __forceinline__ void form_applied(ChunkOf<T> (&x)[kCount], bool relu,
                                             const FormTable<T, kVectors, kColumns>& table, int chunk) {
  if (relu) {
    form_affine<true>(x, table, chunk);
  } else {
    form_affine<false>(x, table, chunk);
  }
}

}  // namespace residuum::kernels
