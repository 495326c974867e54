// What kernels/device/platform.cuh includes when a C++ compiler, not nvcc, compiles a kernel: CUDA's own host
// headers for the vector types and the bf16 and f16 arithmetic, and the emulator for the rest.
#pragma once

// Qualifiers that CUDA's headers take as they find them. A kernel is a function of its source file.
#define __global__ __attribute__((unused)) static
#define __device__
#define __host__
#define __constant__ static const
#define __shared__ static_assert(false, "use SHARED or DYNAMIC_SHARED");
#define __grid_constant__
#define __cluster_dims__(...)
#define __launch_bounds__(...)

#include <cuda_runtime_api.h>
#include <vector_functions.h>
#include <vector_types.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kernels/dependent_launch.h"
#include "kernels/launch.h"
#include "tests/emulator/device_functions.h"
#include "tests/emulator/execution.h"
#include "tests/emulator/options.h"
#include "tests/emulator/ptx_twins.h"
#include "tests/emulator/runtime.h"

// Left to the compiler: inlined throughout, the convolutions take twice as long to compile.
#undef __forceinline__
#define __forceinline__ inline
#undef __noinline__
#define __noinline__ __attribute__((noinline))
#define threadIdx (::residuum::emulator::position().thread)
#define blockIdx (::residuum::emulator::position().block)
#define blockDim (::residuum::emulator::position().block_size)
#define gridDim (::residuum::emulator::position().grid_size)
#define warpSize 32

/// The address of a static tells one declaration (of one template instance) from another.
#define SHARED(type, name, extents)          \
  using name##_shared = type extents;        \
  static char name##_key;                    \
  auto& name = *static_cast<name##_shared*>( \
      ::residuum::emulator::shared_array(&name##_key, sizeof(name##_shared), alignof(name##_shared)))
#define DYNAMIC_SHARED(name) unsigned char* const name = ::residuum::emulator::dynamic_shared()

namespace residuum::kernels {

inline constexpr bool kCompilesWarps = true, kCompilesWarpgroups = true;
inline bool has_warpgroups() {
  return emulator::options().warpgroups;
}

/// As in kernels/device/platform.cuh; the arguments are copied now, the kernel runs when the stream does.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            Stream stream, Arguments&&... arguments) {
  using Values = std::tuple<void (*)(Parameters...), std::remove_cv_t<Parameters>...>;
  constexpr void (*invoke)(const void*) = [](const void* values) {
    std::apply([](const auto& function, const auto&... parameters) { function(parameters...); },
               *static_cast<const Values*>(values));
  };
  emulator::Launch shape{name, grid, block, shared_bytes};
  shape.dependent = DependentLaunches::of_this_thread().take(stream);
  shape.must_wait = shape.dependent || emulator::options().every_grid_waits;
  shape.stream = stream;
  emulator::check_launch(shape);
  emulator::enqueue(
      stream, [shape = std::move(shape), values = Values{kernel, static_cast<Parameters>(arguments)...}] {
        emulator::run_grid(shape, {invoke, &values, sizeof values});
      });
}

}  // namespace residuum::kernels
