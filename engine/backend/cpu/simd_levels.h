// The tables of every instruction set, one file each (simd_baseline.cpp, ...); private to the dispatch in
// simd.cpp.
#pragma once

#include "engine/backend/cpu/simd_table.h"

namespace residuum::cpu {

struct SimdTables {
  Simd f32, bf16;
};

extern const SimdTables kSimdBaseline;
#if defined(__x86_64__)
extern const SimdTables kSimdAvx2, kSimdAvx512, kSimdAvx512Bf16;
#endif

}  // namespace residuum::cpu
