// The CPU's loops compiled for AVX2 and FMA (flags: cmake/cpu_backend.cmake).
#include "engine/backend/cpu/simd_levels.h"

namespace residuum::cpu {
namespace {

constexpr int kVectorBytes = 32;
#include "engine/backend/cpu/simd_loops.inc"

}  // namespace

constexpr SimdTables kSimdAvx2 = {make_table<F32>(), make_table<BF16>()};

}  // namespace residuum::cpu
