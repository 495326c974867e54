// The one place where a kernel source learns what compiles it: nvcc for a GPU, or a C++ compiler for the SIMT
// emulator of tests/emulator (which brings its own <simt_emulator.h>). Kernels include this file and others
// of kernels/ only. Rules that both worlds share:
//   SHARED(type, name, extents) and DYNAMIC_SHARED(name) instead of __shared__;
//   launch() instead of <<<>>>;
//   PTX through the functions of ptx.cuh, which the emulator mirrors one by one;
//   warp functions with an explicit mask, __syncwarp() between lanes that share memory, no __activemask;
//   counters across blocks: __syncthreads, __threadfence by the thread that does the atomic, atomic,
//   __threadfence, __syncthreads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/launch.h"

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

/// A static shared array: SHARED(float, partial, [32][33]); no extents: SHARED(int, last, ).
#define SHARED(type, name, extents) __shared__ type name extents
/// The launch's dynamic shared memory as `unsigned char* name`, aligned to 128 bytes.
#define DYNAMIC_SHARED(name)                                   \
  extern __shared__ __align__(128) unsigned char name##_raw[]; \
  unsigned char* const name = name##_raw

#include "kernels/device/ptx.cuh"

namespace residuum::kernels {

/// Puts a kernel on a stream; `name` is what errors and traces call it. Allows more than 48 KB of dynamic
/// shared memory where the launch wants it. Throws LaunchError.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            Stream stream, Arguments&&... arguments) {
  constexpr size_t kDefaultShared = 48 * 1024;
  cudaError_t status = cudaSuccess;
  if (shared_bytes > kDefaultShared) {
    status =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  }
  if (status == cudaSuccess) {
    kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
    status = cudaGetLastError();
  }
  if (status != cudaSuccess) {
    throw LaunchError(status, std::string(name) + ": " + cudaGetErrorString(status));
  }
}

}  // namespace residuum::kernels

#else
#include <simt_emulator.h>
#endif
