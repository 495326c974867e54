// The CPU's loops compiled for whatever the compiler's target has: 16-byte vectors (flags:
// cmake/cpu_backend.cmake).
#include "engine/backend/cpu/simd_levels.h"

namespace residuum::cpu {
namespace {

constexpr int kVectorBytes = 16;
#include "engine/backend/cpu/simd_loops.inc"

}  // namespace

constexpr SimdTables kSimdBaseline = {make_table<F32>(), make_table<BF16>()};

}  // namespace residuum::cpu
