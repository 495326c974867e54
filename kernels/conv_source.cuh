// The forms of a tensor that a convolution reads: batch norm forward, with residual join and ReLU, or
// backward, applied to 16-byte chunks in shared memory before they are multiplied. Invariant: formulas, order
// and roundings are those of batch_norm.cu, so the formed tensor has the bits that its kernels store.
#pragma once

#include "kernels/conv_tiles.h"
#include "kernels/device/batch_norm.cuh"
#include "kernels/device/tile.cuh"

namespace residuum::kernels {

/// Leaves in `memory` (form_vectors x channels floats) the coefficients of `channels` channels from
/// `first_channel` on; `rows` are the pixels of the tensor. Called by all threads of a block; a barrier must
/// follow.
__device__ __forceinline__ void stage_form(const ConvSource& source, int first_channel, int channels,
                                           int64_t rows, float* memory) {
  for (int c = static_cast<int>(threadIdx.x); c < channels; c += static_cast<int>(blockDim.x)) {
    const int channel = first_channel + c;
    float values[3];
    if (source.form == Form::kGradient) {
      gradient_coefficients(source.vectors, source.d_gamma, source.d_beta, rows, channel, values);
      memory[2 * channels + c] = values[2];
    } else {
      affine_of(source.vectors, channel, values[0], values[1]);
      if (source.form == Form::kJoin && source.b_vectors.mean != nullptr) {
        affine_of(source.b_vectors, channel, memory[2 * channels + c], memory[3 * channels + c]);
      }
    }
    memory[c] = values[0];
    memory[channels + c] = values[1];
  }
}

/// Two neighbouring channels: the unit of forming, as more coefficients at once would not fit in registers
/// beside the sums of a wide tile.
inline constexpr int kPair = 2;

/// The coefficients that stage_form() left, as seen from the first channel of a chunk.
struct FormCoefficients {
  const float* first;
  int pitch;

  __device__ __forceinline__ void load(int vector, int pair, float (&values)[kPair]) const {
    const float2 two = *reinterpret_cast<const float2*>(first + vector * pitch + pair * kPair);
    values[0] = two.x, values[1] = two.y;
  }
};

template <typename T>
__device__ __forceinline__ void widen_pair(const T* src, float (&values)[kPair]) {
#pragma unroll
  for (int i = 0; i < kPair; ++i) values[i] = to_float(src[i]);
}
/// kGradient: what BackwardApply of batch_norm.cu does.
template <typename T>
__device__ __forceinline__ void form_gradient(const FormCoefficients& coefficients, int pair, const T* b,
                                              float (&y)[kPair]) {
  float x[kPair], of_dy[kPair], of_x[kPair], constant[kPair];
  widen_pair(b, x);
  coefficients.load(0, pair, of_dy);
  coefficients.load(1, pair, of_x);
  coefficients.load(2, pair, constant);
#pragma unroll
  for (int i = 0; i < kPair; ++i) y[i] = fmaf(of_dy[i], y[i], fmaf(of_x[i], x[i], constant[i]));
}

/// kApply and kJoin: what Apply of batch_norm.cu does, once for a and, where the shortcut has a batch norm of
/// its own, before that for b, whose result is rounded as if it had been stored.
template <bool kTwo, typename T>
__device__ __forceinline__ void form_apply(const ConvSource& source, const FormCoefficients& coefficients,
                                           int pair, const T* b, float (&y)[kPair]) {
  float scale[kPair], shift[kPair];
  coefficients.load(0, pair, scale);
  coefficients.load(1, pair, shift);
#pragma unroll
  for (int i = 0; i < kPair; ++i) y[i] = fmaf(y[i], scale[i], shift[i]);
  if (kTwo && source.form == Form::kJoin) {
    float more[kPair];
    widen_pair(b, more);
    if (source.b_vectors.mean != nullptr) {
      coefficients.load(2, pair, scale);
      coefficients.load(3, pair, shift);
#pragma unroll
      for (int i = 0; i < kPair; ++i) more[i] = fmaf(more[i], scale[i], shift[i]);
      T stored[kPair];
      narrow_pair(more[0], more[1], stored);
      widen_pair(stored, more);
    }
#pragma unroll
    for (int i = 0; i < kPair; ++i) y[i] += more[i];
  }
  if (!source.relu) return;
#pragma unroll
  for (int i = 0; i < kPair; ++i) y[i] = gate_open(y[i]) ? y[i] : 0.0f;
}

/// Whether the kernel with that tile reads two tensors, given the form, one of those that it can have.
template <TileName kName, bool kBackward>
__device__ __forceinline__ bool reads_two(Form form) {
  constexpr bool kCanTwo = takes_two_tensors(kName);
  constexpr bool kCanOne = !kBackward || tile_forms(kName, kBackward, Form::kConcat);
  return kCanTwo && (!kCanOne || form_tensors(form) == 2);
}

/// The formed chunk of `a` and, of forms with two tensors, the chunk at `b`; both in shared memory. (Of
/// kConcat, `a` is a chunk of its second tensor.)
template <typename T, TileName kName, bool kBackward>
__device__ __forceinline__ uint4 form_chunk(const ConvSource& source, const FormCoefficients& coefficients,
                                            const unsigned char* a, const unsigned char* b) {
  alignas(kChunkBytes) T values[kChunk<T>], more[kChunk<T>];
  *reinterpret_cast<uint4*>(values) = *reinterpret_cast<const uint4*>(a);
  const bool two = reads_two<kName, kBackward>(source.form);
  if (two) *reinterpret_cast<uint4*>(more) = *reinterpret_cast<const uint4*>(b);
#pragma unroll
  for (int pair = 0; pair < kChunk<T> / kPair; ++pair) {
    float y[kPair];
    widen_pair(values + pair * kPair, y);
    if (kBackward && two) {
      form_gradient(coefficients, pair, more + pair * kPair, y);
    } else {
      form_apply<!kBackward && takes_two_tensors(kName)>(source, coefficients, pair, more + pair * kPair, y);
    }
    narrow_pair(y[0], y[1], values + pair * kPair);
  }
  return *reinterpret_cast<const uint4*>(values);
}

/// Writes a formed chunk, and the byte of the mask that belongs to its eight channels, to their places in
/// memory.
template <typename T>
__device__ __forceinline__ void store_formed(const ConvSource& source, const uint4& chunk, int64_t element) {
  *reinterpret_cast<uint4*>(static_cast<T*>(source.dst) + element) = chunk;
  if constexpr (kChunk<T> == kUnit) {
    if (source.mask == nullptr) return;
    float values[kUnit];
    widen(*reinterpret_cast<const Pack<T>*>(&chunk), values);
    source.mask[element / kUnit] = open_bits(values, kUnit);
  }
}

}  // namespace residuum::kernels
