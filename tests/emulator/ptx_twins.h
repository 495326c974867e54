// Twins of the functions of kernels/device/ptx.cuh and ptx_sm90.cuh, with the same signatures (a default
// argument that names the call site apart). They are not compiled into kernels, so a sanitizer of the kernels
// does not see them.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

#include "tests/emulator/call_site.h"
#include "tests/emulator/device_functions.h"

namespace residuum::kernels {

using SharedAddress = uintptr_t;
using emulator::CallSite;

inline SharedAddress shared_address(const void* pointer) {
  return reinterpret_cast<SharedAddress>(pointer);
}

template <typename T>
inline T computed_here(T value) {
  return value;
}
void cp_async_16(SharedAddress dst, const void* src, bool valid);
void cp_async_commit();
namespace detail {
void cp_async_wait(unsigned pending);
}
template <int kPending>
inline void cp_async_wait() {
  detail::cp_async_wait(kPending);
}

inline unsigned add_acquire_release(unsigned* counter, unsigned value) {
  __threadfence();
  const unsigned before = atomicAdd(counter, value);
  __threadfence();
  return before;
}

/// Nothing depends on it.
inline void prefetch_l2(const void*) {}

void ldmatrix_x4(uint32_t (&regs)[4], SharedAddress row, CallSite site = CallSite::current());
void ldmatrix_x4_transposed(uint32_t (&regs)[4], SharedAddress row, CallSite site = CallSite::current());
uint32_t load_shared_32(SharedAddress address);

/// Products are exact in f32; the sums round to f32 in the order of k. (The tensor cores of each GPU round in
/// ways of their own: results agree within a tolerance, and exactly where all sums are exact.)
void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
              CallSite site = CallSite::current());
void mma_f16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
             CallSite site = CallSite::current());
void mma_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
              CallSite site = CallSite::current());
uint32_t round_to_tf32(float value);
uint32_t rectified_pair_bf16(float low, float high);
uint32_t rectified_pair_f16(float low, float high);

/// Of kernels/device/ptx_sm90.cuh. Products are carried out by wgmma_wait, as late as the hardware may.
struct SharedFactor {
  SharedAddress start;
  int leading, stride;
};
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(CallSite site = CallSite::current());
/// Of the race detector: memory is one.
void fence_shared_for_wgmma();
namespace detail {
/// Of a left factor in registers, words; else rows of left_bytes at `left`.
struct LeftFactor {
  const uint32_t* words = nullptr;
  SharedFactor rows{};
  int row_bytes = 0;
};
void wgmma(float* c, int eights, const LeftFactor& a, const SharedFactor& b, bool is_bf16, bool flat,
           int row_bytes);
}  // namespace detail
template <typename T, bool kFlat, int kRowBytes, int kEights>
void wgmma(float (&c)[kEights][4], const uint32_t (&a)[4], const SharedFactor& b) {
  static_assert(kEights == 8 || kEights == 16, "64 or 128 columns");
  static_assert(kRowBytes == 128 || (!kFlat && kRowBytes == 64));
  detail::wgmma(c[0], kEights, {a, {}, 0}, b, std::is_same_v<T, __nv_bfloat16>, kFlat, kRowBytes);
}
template <typename T, bool kFlat, int kRowBytes, int kLeftBytes, int kEights>
void wgmma(float (&c)[kEights][4], const SharedFactor& a, const SharedFactor& b) {
  static_assert(kEights == 8 || kEights == 16, "64 or 128 columns");
  static_assert(kRowBytes == 128 || (!kFlat && kRowBytes == 64));
  static_assert(kLeftBytes == 128 || kLeftBytes == 64);
  detail::wgmma(c[0], kEights, {nullptr, a, kLeftBytes}, b, std::is_same_v<T, __nv_bfloat16>, kFlat,
                kRowBytes);
}
/// Products read registers when they start or, of sums, when they are waited for.
template <typename Values>
void hold_registers(Values&) {}

/// Grids run one after another here: these only check that the wait is there, and comes first.
void grid_dependency_wait();
void grid_dependency_trigger();

}  // namespace residuum::kernels
