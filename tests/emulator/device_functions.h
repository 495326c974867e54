// CUDA's device functions as kernels see them: barriers, warp functions, atomics on integers, fences,
// intrinsics. Floating-point atomics are deleted: their sums depend on the order of arrival. Names and
// meaning are those of the CUDA C++ programming guide.
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

enum class Atomic : uint8_t { kAdd, kExchange };
/// The old value. T: int, unsigned, unsigned long long.
template <typename T>
T atomic(Atomic operation, T* address, T value);

}  // namespace residuum::emulator

// ---- barriers, fences

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

// ---- warp functions

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
  return residuum::emulator::shuffle_bits(residuum::emulator::ShuffleKind::kXor, mask, value, lane_mask,
                                          width, site);
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

// ---- atomics

template <typename T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return residuum::emulator::atomic(residuum::emulator::Atomic::kAdd, address, value);
}
float atomicAdd(float* address, float value) = delete;
double atomicAdd(double* address, double value) = delete;
template <typename T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return residuum::emulator::atomic(residuum::emulator::Atomic::kExchange, address, value);
}

// ---- arithmetic

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
constexpr unsigned min(unsigned a, int b) {
  return min(a, static_cast<unsigned>(b));
}
constexpr unsigned min(int a, unsigned b) {
  return min(static_cast<unsigned>(a), b);
}
constexpr unsigned max(unsigned a, int b) {
  return max(a, static_cast<unsigned>(b));
}
constexpr unsigned max(int a, unsigned b) {
  return max(static_cast<unsigned>(a), b);
}
inline float min(float a, float b) {
  return fminf(a, b);
}
inline float max(float a, float b) {
  return fmaxf(a, b);
}
inline double min(double a, double b) {
  return fmin(a, b);
}
inline double max(double a, double b) {
  return fmax(a, b);
}

inline int __popc(unsigned value) {
  return std::popcount(value);
}

inline unsigned __float_as_uint(float value) {
  return std::bit_cast<unsigned>(value);
}
inline float __uint_as_float(unsigned bits) {
  return std::bit_cast<float>(bits);
}

inline float rsqrtf(float value) {
  return 1.0f / sqrtf(value);
}
inline double rsqrt(double value) {
  return 1.0 / sqrt(value);
}
