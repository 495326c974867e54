// The choice among the CPU's hand-written loops (simd_table.h), which are compiled once per instruction set:
// baseline, AVX2 + FMA, AVX-512, AVX-512 with bfloat16 conversion. Results have the same bits for the same
// level, not between levels.
#pragma once

#include <string_view>

#include "engine/backend/cpu/simd_table.h"
#include "engine/core/tensor.h"

namespace residuum::cpu {

/// The loops for element type kF32 or kBF16 on this processor; throws Error(kDevice) for another type.
const Simd& simd(DType type);

/// "avx512_bf16", "avx512", "avx2" or "baseline": the instruction set picked.
const char* simd_level();

/// The loops of one level, or null when this processor or build lacks it.
const Simd* simd_of_level(DType type, std::string_view level);

}  // namespace residuum::cpu
