// The one place where a kernel source learns what compiles it: nvcc for a GPU, or a C++ compiler for the SIMT
// emulator of tests/emulator (which brings its own <simt_emulator.h>). Kernels include this file and others
// of kernels/ only. Rules that both worlds share:
//   SHARED(type, name, extents) and DYNAMIC_SHARED(name) instead of __shared__;
//   launch() instead of <<<>>>;
//   grid_dependency_wait() in every kernel before memory that the launch ahead may write, then _trigger();
//   PTX through the functions of ptx.cuh and ptx_sm90.cuh, which the emulator mirrors one by one;
//   warp functions with an explicit mask, __syncwarp() between lanes that share memory, no __activemask;
//   counters across blocks: __syncthreads, add_acquire_release() by one thread, __syncthreads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/dependent_launch.h"
#include "kernels/launch.h"

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

/// A static shared array, aligned to 16 bytes so that vectors of its elements can be read: SHARED(float,
/// partial, [32][33]); no extents: SHARED(int, last, ).
#define SHARED(type, name, extents) __shared__ __align__(16) type name extents
/// The launch's dynamic shared memory as `unsigned char* name`, aligned to 128 bytes.
#define DYNAMIC_SHARED(name)                                   \
  extern __shared__ __align__(128) unsigned char name##_raw[]; \
  unsigned char* const name = name##_raw

#include "kernels/device/ptx.cuh"
#include "kernels/device/ptx_sm90.cuh"

namespace residuum::kernels {

/// Which kernels the code being compiled can run: those of warpgroups, where the target is sm_90a, or those
/// of warps for the same work. On the host, both.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
inline constexpr bool kCompilesWarps = false, kCompilesWarpgroups = true;
#elif defined(__CUDA_ARCH__)
inline constexpr bool kCompilesWarps = true, kCompilesWarpgroups = false;
#else
inline constexpr bool kCompilesWarps = true, kCompilesWarpgroups = true;
#endif

/// Tells by its launch bounds what it was compiled for.
inline constexpr int kProbeThreads = kCompilesWarpgroups && !kCompilesWarps ? 64 : 32;
template <typename T>
__global__ void __launch_bounds__(kProbeThreads) warpgroup_probe_kernel(T* dst) {
  if (dst != nullptr) *dst = T(0);
}
/// Whether kernels of warpgroups run on the current device. Devices of a process are alike in that.
inline bool has_warpgroups() {
  static const bool has = [] {
    cudaFuncAttributes attributes{};
    const cudaError_t status = cudaFuncGetAttributes(&attributes, warpgroup_probe_kernel<int>);
    return status == cudaSuccess && attributes.maxThreadsPerBlock == 64;
  }();
  return has;
}

/// Whether the code that runs is of an architecture with griddepcontrol: on a newer GPU, code compiled for an
/// older one has an empty grid_dependency_wait.
template <typename Kernel>
bool has_dependency_wait(Kernel* kernel) {
  constexpr int kFirstVersion = 90;  // compute capability 9.0
  cudaFuncAttributes attributes{};
  return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess && attributes.ptxVersion >= kFirstVersion;
}

/// Puts a kernel on a stream; `name` is what errors and traces call it. Allows what dynamic shared memory the
/// launch wants, as together with static arrays it may pass the usual 48 KB; a dependent launch where
/// DependentLaunches allows one. Throws LaunchError.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            Stream stream, Arguments&&... arguments) {
  cudaLaunchAttribute dependent{};
  dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  dependent.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &dependent;
  const bool allowed = DependentLaunches::of_this_thread().take(stream);
  config.numAttrs = allowed && has_dependency_wait(kernel) ? 1 : 0;
  cudaError_t status = cudaSuccess;
  if (shared_bytes > 0) {
    status =
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
  }
  if (status == cudaSuccess) {
    status = cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
  }
  if (status != cudaSuccess) {
    cudaGetLastError();  // what is reported here is not reported again by the next call
    throw LaunchError(status, std::string(name) + ": " + cudaGetErrorString(status));
  }
}

}  // namespace residuum::kernels

#else
#include <simt_emulator.h>
#endif
