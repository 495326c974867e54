// Units: eight consecutive channels of one row (or eight consecutive elements), what one thread handles at a
// time. A whole unit moves in 16-byte accesses (one for 16-bit types, two for f32) and must be aligned to its
// size or 16 bytes; a partial one moves element by element, and its absent elements read as zero.
#pragma once

#include <type_traits>

#include "kernels/device/element.cuh"

namespace residuum::kernels {

inline constexpr int kUnit = 8;

/// A unit as it lies in memory.
template <typename T>
struct alignas(kUnit * sizeof(T) < 16 ? kUnit * sizeof(T) : 16) Pack {
  T at[kUnit];
};

/// A unit as it lies in registers, as words: what is loaded under a condition is then merged by words and not
/// by 16-bit elements.
template <typename T>
struct PackWords {
  uint32_t at[sizeof(Pack<T>) / sizeof(uint32_t)];

  __device__ __forceinline__ void set(const Pack<T>& pack) {
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(at) / sizeof(uint32_t)); ++i) {
      at[i] = reinterpret_cast<const uint32_t*>(&pack)[i];
    }
  }
  __device__ __forceinline__ Pack<T> get() const {
    Pack<T> pack;
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(at) / sizeof(uint32_t)); ++i) {
      reinterpret_cast<uint32_t*>(&pack)[i] = at[i];
    }
    return pack;
  }
};

/// `count` elements matter when not kWhole.
template <bool kWhole, typename T>
__device__ __forceinline__ Pack<T> load_pack(const T* src, int count) {
  if constexpr (kWhole) {
    return *reinterpret_cast<const Pack<T>*>(src);
  } else {
    Pack<T> pack;
#pragma unroll
    for (int i = 0; i < kUnit; ++i) pack.at[i] = i < count ? src[i] : T(0);
    return pack;
  }
}

template <bool kWhole, typename T>
__device__ __forceinline__ void store_pack(const Pack<T>& pack, T* dst, int count) {
  if constexpr (kWhole) {
    // As vectors: a struct of 16-bit elements would be stored piece by piece. (A unit of bytes is half a
    // one.)
    using Vector = std::conditional_t<sizeof(Pack<T>) % sizeof(uint4) == 0, uint4, uint2>;
    static_assert(sizeof(Pack<T>) % sizeof(Vector) == 0);
#pragma unroll
    for (int i = 0; i < static_cast<int>(sizeof(Pack<T>) / sizeof(Vector)); ++i) {
      reinterpret_cast<Vector*>(dst)[i] = reinterpret_cast<const Vector*>(&pack)[i];
    }
  } else {
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      if (i < count) dst[i] = pack.at[i];
    }
  }
}

template <typename T>
__device__ __forceinline__ void widen(const Pack<T>& pack, float (&values)[kUnit]) {
#pragma unroll
  for (int i = 0; i < kUnit; ++i) values[i] = to_float(pack.at[i]);
}

/// Two values to nearest even: one instruction for 16-bit types.
__device__ __forceinline__ void narrow_pair(float first, float second, float* dst) {
  dst[0] = first;
  dst[1] = second;
}
__device__ __forceinline__ void narrow_pair(float first, float second, bf16* dst) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  dst[0] = pair.x;
  dst[1] = pair.y;
}
__device__ __forceinline__ void narrow_pair(float first, float second, f16* dst) {
  const __half2 pair = __floats2half2_rn(first, second);
  dst[0] = pair.x;
  dst[1] = pair.y;
}

template <typename T>
__device__ __forceinline__ Pack<T> narrow(const float (&values)[kUnit]) {
  Pack<T> pack;
#pragma unroll
  for (int i = 0; i < kUnit; i += 2) narrow_pair(values[i], values[i + 1], pack.at + i);
  return pack;
}

/// Rounded to T and back: what a reader of the stored value would see.
template <typename T>
__device__ __forceinline__ void round_as(float (&values)[kUnit]) {
  widen(narrow<T>(values), values);
}

template <bool kWhole, typename T>
__device__ __forceinline__ void load_unit(const T* src, int count, float (&values)[kUnit]) {
  widen(load_pack<kWhole>(src, count), values);
}

template <bool kWhole, typename T>
__device__ __forceinline__ void store_unit(const float (&values)[kUnit], T* dst, int count) {
  store_pack<kWhole>(narrow<T>(values), dst, count);
}

/// ReLU's rule for values and gradients: closed where the gate is <= 0; a NaN passes, as in torch.
__device__ __forceinline__ bool gate_open(float gate) {
  return !(gate <= 0.0f);
}

/// One bit for each open gate: a byte of a ReLU mask.
__device__ __forceinline__ uint8_t open_bits(const float (&gates)[kUnit], int count) {
  unsigned bits = 0;
#pragma unroll
  for (int i = 0; i < kUnit; ++i) bits |= static_cast<unsigned>(i < count && gate_open(gates[i])) << i;
  return static_cast<uint8_t>(bits);
}

}  // namespace residuum::kernels
