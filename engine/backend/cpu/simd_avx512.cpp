// The CPU's loops compiled for AVX-512 F, BW, DQ and VL (flags: cmake/cpu_backend.cmake).
#include "engine/backend/cpu/simd_levels.h"

namespace residuum::cpu {
namespace {

constexpr int kVectorBytes = 64;
#include "engine/backend/cpu/simd_loops.inc"

}  // namespace

constexpr SimdTables kSimdAvx512 = {make_table<F32>(), make_table<BF16>()};

}  // namespace residuum::cpu
