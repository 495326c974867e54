// Tensors in the types that the stand-ins of CUDA's libraries share, read and written as double.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace residuum::emulator {

enum class Stored : uint8_t { kF32, kF16, kBF16 };

inline double load(const void* values, Stored type, int64_t i) {
  switch (type) {
    case Stored::kF32:
      return double{static_cast<const float*>(values)[i]};
    case Stored::kF16:
      return double{__half2float(static_cast<const __half*>(values)[i])};
    case Stored::kBF16:
      return double{__bfloat162float(static_cast<const __nv_bfloat16*>(values)[i])};
  }
  return 0;
}

inline void store(void* values, Stored type, int64_t i, double value) {
  const float rounded = static_cast<float>(value);
  switch (type) {
    case Stored::kF32:
      static_cast<float*>(values)[i] = rounded;
      return;
    case Stored::kF16:
      static_cast<__half*>(values)[i] = __float2half_rn(rounded);
      return;
    case Stored::kBF16:
      static_cast<__nv_bfloat16*>(values)[i] = __float2bfloat16_rn(rounded);
  }
}

}  // namespace residuum::emulator
