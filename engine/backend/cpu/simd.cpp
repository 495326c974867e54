// Run-time choice of the instruction set. The features asked for here are exactly the ones
// cmake/cpu_backend.cmake compiles the file of that level with.
#include "engine/backend/cpu/simd.h"

#include <array>

#include "engine/backend/cpu/simd_levels.h"
#include "engine/core/check.h"

namespace residuum::cpu {
namespace {

struct Level {
  const char* name;
  const SimdTables* tables;
};

#if defined(__x86_64__)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool has_avx512_bf16() {
  return has_avx512() && __builtin_cpu_supports("avx512bf16");
}

/// Best first; tables are null for what the processor lacks.
std::array<Level, 4> find_levels() {
  return {Level{"avx512_bf16", has_avx512_bf16() ? &kSimdAvx512Bf16 : nullptr},
          Level{"avx512", has_avx512() ? &kSimdAvx512 : nullptr},
          Level{"avx2", has_avx2() ? &kSimdAvx2 : nullptr}, Level{"baseline", &kSimdBaseline}};
}
#else
std::array<Level, 1> find_levels() {
  return {Level{"baseline", &kSimdBaseline}};
}
#endif

const Level& best_level() {
  static const Level best = [] {
    for (const Level& level : find_levels()) {
      if (level.tables != nullptr) return level;
    }
    return Level{"baseline", &kSimdBaseline};
  }();
  return best;
}

const Simd& table_of(const SimdTables& tables, DType type) {
  check(type == DType::kF32 || type == DType::kBF16, ErrorKind::kDevice,
        "the CPU backend computes in f32 or bf16, not in {}", to_string(type));
  return type == DType::kF32 ? tables.f32 : tables.bf16;
}

}  // namespace

const Simd& simd(DType type) {
  return table_of(*best_level().tables, type);
}

const char* simd_level() {
  return best_level().name;
}

const Simd* simd_of_level(DType type, std::string_view name) {
  for (const Level& level : find_levels()) {
    if (level.name == name && level.tables != nullptr) return &table_of(*level.tables, type);
  }
  return nullptr;
}

}  // namespace residuum::cpu
