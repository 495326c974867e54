// Element types of activations: conversions to and from float, and the choice of a type at run time.
#pragma once

#include "kernels/device/platform.cuh"

namespace residuum::kernels {

using bf16 = __nv_bfloat16;
using f16 = __half;

__device__ __forceinline__ float to_float(float value) {
  return value;
}
__device__ __forceinline__ float to_float(bf16 value) {
  return __bfloat162float(value);
}
__device__ __forceinline__ float to_float(f16 value) {
  return __half2float(value);
}

/// To nearest even.
template <typename T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ __forceinline__ f16 from_float<f16>(float value) {
  return __float2half_rn(value);
}

/// Calls `function` with a value of the C++ type of `type`: with_element(type, [&](auto zero) { using T =
/// decltype(zero); ... }).
template <typename Call>
void with_element(Element type, const Call& function) {
  switch (type) {
    case Element::kF32:
      return function(float{});
    case Element::kBF16:
      return function(bf16{});
    case Element::kF16:
      return function(f16{});
  }
}

}  // namespace residuum::kernels
