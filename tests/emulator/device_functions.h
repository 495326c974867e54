// CUDA's device functions as kernels see them: barriers, warp functions, atomics on integers, fences,
// intrinsics. Floating-point atomics are deleted: their sums depend on the order of arrival. Names and meaning
// are those of the CUDA C++ programming guide.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tests/emulator/execution.h"

namespace residuum::emulator {

/// What a lane posts for a shuffle, and finds there afterwards.
struct Shuffle {
  uint64_t value;
  int source;
};
struct Vote {
  bool predicate;
  uint32_t votes;
};
enum class ShuffleKind : uint8_t { kIndex, kUp, kDown, kXor };
enum class VoteKind : uint8_t { kBallot, kAny, kAll };
uint64_t shuffle(ShuffleKind kind, uint32_t mask, uint64_t value, int argument, int width, CallSite site);
uint32_t vote(VoteKind kind, uint32_t mask, bool predicate, CallSite site);
void sync_warp(uint32_t mask, CallSite site);

template <typename T>
T shuffle_bits(ShuffleKind kind, uint32_t mask, T value, int argument, int width, CallSite site) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = shuffle(kind, mask, bits, argument, width, site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

enum class Atomic : uint8_t { kAdd, kMax, kMin, kExchange, kCompareSwap, kIncrement, kAnd, kOr };
/// The old value. T: int, unsigned, unsigned long long.
template <typename T>
T atomic(Atomic operation, T* address, T value, T expected = T{});

}  // namespace residuum::emulator

// ---- barriers, fences ----------------------------------------------------------------------------------------

#define RESIDUUM_SITE ::residuum::emulator::CallSite site = ::residuum::emulator::CallSite::current()

inline void __syncthreads(RESIDUUM_SITE) {
  residuum::emulator::barrier(residuum::emulator::Barrier::kPlain, false, site);
}
inline int __syncthreads_or(int predicate, RESIDUUM_SITE) {
  return residuum::emulator::barrier(residuum::emulator::Barrier::kOr, predicate != 0, site);
}
inline int __syncthreads_and(int predicate, RESIDUUM_SITE) {
  return residuum::emulator::barrier(residuum::emulator::Barrier::kAnd, predicate != 0, site);
}
inline int __syncthreads_count(int predicate, RESIDUUM_SITE) {
  return residuum::emulator::barrier(residuum::emulator::Barrier::kCount, predicate != 0, site);
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, RESIDUUM_SITE) {
  residuum::emulator::sync_warp(mask, site);
}
inline void __threadfence() {
  residuum::emulator::thread_fence();
}
/// Orders nothing between blocks, and within one the barriers do.
inline void __threadfence_block() {}
inline void __nanosleep(unsigned) {
  residuum::emulator::yield();
}
[[noreturn]] inline void __trap() {
  residuum::emulator::fault("__trap");
}

// ---- warp functions ------------------------------------------------------------------------------------------

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, RESIDUUM_SITE) {
  return residuum::emulator::shuffle_bits(residuum::emulator::ShuffleKind::kIndex, mask, value, lane, width,
                                          site);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, RESIDUUM_SITE) {
  return residuum::emulator::shuffle_bits(residuum::emulator::ShuffleKind::kUp, mask, value,
                                          static_cast<int>(delta), width, site);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, RESIDUUM_SITE) {
  return residuum::emulator::shuffle_bits(residuum::emulator::ShuffleKind::kDown, mask, value,
                                          static_cast<int>(delta), width, site);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, RESIDUUM_SITE) {
  return residuum::emulator::shuffle_bits(residuum::emulator::ShuffleKind::kXor, mask, value, lane_mask, width,
                                          site);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, RESIDUUM_SITE) {
  return residuum::emulator::vote(residuum::emulator::VoteKind::kBallot, mask, predicate != 0, site);
}
inline int __any_sync(unsigned mask, int predicate, RESIDUUM_SITE) {
  return residuum::emulator::vote(residuum::emulator::VoteKind::kAny, mask, predicate != 0, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, RESIDUUM_SITE) {
  return residuum::emulator::vote(residuum::emulator::VoteKind::kAll, mask, predicate != 0, site) == mask;
}
#undef RESIDUUM_SITE

// ---- atomics -------------------------------------------------------------------------------------------------

template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return residuum::emulator::atomic(residuum::emulator::Atomic::kAdd, address, value);
}
float atomicAdd(float* address, float value) = delete;
double atomicAdd(double* address, double value) = delete;
template <typename T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return residuum::emulator::atomic(residuum::emulator::Atomic::kMax, address, value);
}
template <typename T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return residuum::emulator::atomic(residuum::emulator::Atomic::kMin, address, value);
}
template <typename T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
  return residuum::emulator::atomic(residuum::emulator::Atomic::kAnd, address, value);
}
template <typename T>
T atomicOr(T* address, std::type_identity_t<T> value) {
  return residuum::emulator::atomic(residuum::emulator::Atomic::kOr, address, value);
}
template <typename T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return residuum::emulator::atomic(residuum::emulator::Atomic::kExchange, address, value);
}
template <typename T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return residuum::emulator::atomic(residuum::emulator::Atomic::kCompareSwap, address, value, expected);
}
/// 0 after `last`, else one more.
inline unsigned atomicInc(unsigned* address, unsigned last) {
  return residuum::emulator::atomic(residuum::emulator::Atomic::kIncrement, address, last);
}

// ---- loads and stores with a hint for the caches -------------------------------------------------------------

#define RESIDUUM_LOAD(name)           \
  template <typename T>               \
  inline T name(const T* address) {   \
    return *address;                  \
  }
RESIDUUM_LOAD(__ldg)
RESIDUUM_LOAD(__ldca)
RESIDUUM_LOAD(__ldcg)
RESIDUUM_LOAD(__ldcs)
RESIDUUM_LOAD(__ldlu)
RESIDUUM_LOAD(__ldcv)
#undef RESIDUUM_LOAD
#define RESIDUUM_STORE(name)                                        \
  template <typename T>                                             \
  inline void name(T* address, const std::type_identity_t<T>& value) { \
    *address = value;                                               \
  }
RESIDUUM_STORE(__stwb)
RESIDUUM_STORE(__stcg)
RESIDUUM_STORE(__stcs)
RESIDUUM_STORE(__stwt)
#undef RESIDUUM_STORE

// ---- arithmetic ----------------------------------------------------------------------------------------------

template <typename T>
  requires std::is_arithmetic_v<T>
constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
  requires std::is_arithmetic_v<T>
constexpr T max(T a, T b) {
  return a < b ? b : a;
}
// nvcc's mixed overloads.
constexpr unsigned min(unsigned a, int b) { return min(a, static_cast<unsigned>(b)); }
constexpr unsigned min(int a, unsigned b) { return min(static_cast<unsigned>(a), b); }
constexpr unsigned max(unsigned a, int b) { return max(a, static_cast<unsigned>(b)); }
constexpr unsigned max(int a, unsigned b) { return max(static_cast<unsigned>(a), b); }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline int __popc(unsigned value) { return std::popcount(value); }
inline int __popcll(unsigned long long value) { return std::popcount(value); }
inline int __clz(int value) { return std::countl_zero(static_cast<unsigned>(value)); }
inline int __clzll(long long value) { return std::countl_zero(static_cast<unsigned long long>(value)); }
inline int __ffs(int value) { return value ? std::countr_zero(static_cast<unsigned>(value)) + 1 : 0; }
inline int __ffsll(long long value) {
  return value ? std::countr_zero(static_cast<unsigned long long>(value)) + 1 : 0;
}
inline unsigned __brev(unsigned value) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (value >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline int __mulhi(int a, int b) { return static_cast<int>(static_cast<int64_t>(a) * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const uint64_t bytes = static_cast<uint64_t>(high) << 32 | low;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    result |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * i & 7) & 0xFF) << 8 * i;
  }
  return result;
}

inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline long long __double_as_longlong(double value) { return std::bit_cast<long long>(value); }
inline double __longlong_as_double(long long bits) { return std::bit_cast<double>(bits); }

inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }
inline double rsqrt(double value) { return 1.0 / sqrt(value); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float value) { return 1.0f / value; }
inline float __fsqrt_rn(float value) { return sqrtf(value); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __saturatef(float value) { return fminf(fmaxf(value, 0.0f), 1.0f); }
inline float __int2float_rn(int value) { return static_cast<float>(value); }
inline float __uint2float_rn(unsigned value) { return static_cast<float>(value); }
inline int __float2int_rn(float value) { return static_cast<int>(rintf(value)); }

// The C library declares functions of its own by these names.
#define __expf expf
#define __logf logf
#define __powf powf
#define __sinf sinf
#define __cosf cosf
#ifndef __clang__
#define __builtin_assume(condition) ((void)0)
#endif
