// Twins of the functions of kernels/device/ptx.cuh, with the same signatures (a default argument that names
// the call site apart). They are not compiled into kernels, so a sanitizer of the kernels does not see them.
#pragma once

#include <cstdint>

#include "tests/emulator/call_site.h"

namespace residuum::kernels {

using SharedAddress = uintptr_t;
using emulator::CallSite;

inline SharedAddress shared_address(const void* pointer) {
  return reinterpret_cast<SharedAddress>(pointer);
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

/// Grids run one after another here: these only check that the wait is there, and comes first.
void grid_dependency_wait();
void grid_dependency_trigger();

}  // namespace residuum::kernels
