// The forms of a tensor that a convolution reads: batch norm forward, with residual join and ReLU, or
// backward, applied to 16-byte chunks in shared memory before they are multiplied. Invariant: formulas, order
// and roundings are those of batch_norm.cu, so the formed tensor has the bits that its kernels store.
#pragma once

#include "kernels/conv/tiles.h"
#include "kernels/device/batch_norm.cuh"
#include "kernels/device/tile.cuh"

namespace residuum::kernels {

/// Where the coefficient of channel `c` lies in a vector: the first four of every eight channels, then the
/// other four, so that lanes that read them for neighbouring chunks find them in different banks.
__device__ __forceinline__ int form_place(int c, int pitch) {
  return (c & 4) / 4 * (pitch / 2) + c / 8 * 4 + c % 4;
}

/// Leaves in `memory` (form_vectors x form_pitch(channels) floats) the coefficients of `channels` channels
/// from `first_channel` on; `rows` are the pixels of the tensor. Called by all threads of a block; a barrier
/// must follow.
__device__ __forceinline__ void stage_form(const ConvSource& source, int first_channel, int channels,
                                           int64_t rows, float* memory) {
  const int pitch = static_cast<int>(form_pitch(channels));
  for (int c = static_cast<int>(threadIdx.x); c < channels; c += static_cast<int>(blockDim.x)) {
    const int channel = first_channel + c;
    float* const own = memory + form_place(c, pitch);
    float values[3];
    if (source.form == Form::kGradient) {
      gradient_coefficients(source.vectors, source.d_gamma, source.d_beta, rows, channel, values);
      own[2 * pitch] = values[2];
    } else {
      affine_of(source.vectors, channel, values[0], values[1]);
      if (source.form == Form::kJoin && source.b_vectors.mean != nullptr) {
        affine_of(source.b_vectors, channel, own[2 * pitch], own[3 * pitch]);
      }
    }
    own[0] = values[0];
    own[pitch] = values[1];
  }
}

/// Four neighbouring channels: the unit of forming, as more coefficients at once would not fit in registers
/// beside the sums of a wide tile.
inline constexpr int kFormChannels = 4;

/// The coefficients that stage_form() left.
struct FormCoefficients {
  const float* first;  ///< of a chunk's first channel
  int pitch;

  /// Those of channels 4 quad to 4 quad + 3 from the first on.
  __device__ __forceinline__ void load(int vector, int quad, float (&values)[kFormChannels]) const {
    const float4 four = *reinterpret_cast<const float4*>(first + vector * pitch + quad * (pitch / 2));
    values[0] = four.x, values[1] = four.y, values[2] = four.z, values[3] = four.w;
  }
};

template <typename T>
__device__ __forceinline__ void widen_form(const T* src, float (&values)[kFormChannels]) {
#pragma unroll
  for (int i = 0; i < kFormChannels; ++i) values[i] = to_float(src[i]);
}
template <typename T>
__device__ __forceinline__ void narrow_form(const float (&values)[kFormChannels], T* dst) {
#pragma unroll
  for (int i = 0; i < kFormChannels; i += 2) narrow_pair(values[i], values[i + 1], dst + i);
}
/// kGradient: what BackwardApply of batch_norm.cu does.
template <typename T>
__device__ __forceinline__ void form_gradient(const FormCoefficients& coefficients, int quad, const T* b,
                                              float (&y)[kFormChannels]) {
  float x[kFormChannels], of_dy[kFormChannels], of_x[kFormChannels], constant[kFormChannels];
  widen_form(b, x);
  coefficients.load(0, quad, of_dy);
  coefficients.load(1, quad, of_x);
  coefficients.load(2, quad, constant);
#pragma unroll
  for (int i = 0; i < kFormChannels; ++i) y[i] = fmaf(of_dy[i], y[i], fmaf(of_x[i], x[i], constant[i]));
}

/// kApply and kJoin: what Apply of batch_norm.cu does, once for a and, where the shortcut has a batch norm of
/// its own, before that for b, whose result is rounded as if it had been stored.
template <bool kTwo, typename T>
__device__ __forceinline__ void form_apply(const ConvSource& source, const FormCoefficients& coefficients,
                                           int quad, const T* b, float (&y)[kFormChannels]) {
  float scale[kFormChannels], shift[kFormChannels];
  coefficients.load(0, quad, scale);
  coefficients.load(1, quad, shift);
#pragma unroll
  for (int i = 0; i < kFormChannels; ++i) y[i] = fmaf(y[i], scale[i], shift[i]);
  if (kTwo && source.form == Form::kJoin) {
    float more[kFormChannels];
    widen_form(b, more);
    if (source.b_vectors.mean != nullptr) {
      coefficients.load(2, quad, scale);
      coefficients.load(3, quad, shift);
#pragma unroll
      for (int i = 0; i < kFormChannels; ++i) more[i] = fmaf(more[i], scale[i], shift[i]);
      T stored[kFormChannels];
      narrow_form(more, stored);
      widen_form(stored, more);
    }
#pragma unroll
    for (int i = 0; i < kFormChannels; ++i) y[i] += more[i];
  }
  if (!source.relu) return;
#pragma unroll
  for (int i = 0; i < kFormChannels; ++i) y[i] = gate_open(y[i]) ? y[i] : 0.0f;
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
  for (int quad = 0; quad < kChunk<T> / kFormChannels; ++quad) {
    float y[kFormChannels];
    widen_form(values + quad * kFormChannels, y);
    if (kBackward && two) {
      form_gradient(coefficients, quad, more + quad * kFormChannels, y);
    } else {
      form_apply<!kBackward && takes_two_tensors(kName)>(source, coefficients, quad,
                                                         more + quad * kFormChannels, y);
    }
    narrow_form(y, values + quad * kFormChannels);
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
