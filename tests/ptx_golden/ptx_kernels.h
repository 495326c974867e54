// One kernel for each function of kernels/device/ptx.cuh, and for the conversions of element.cuh: a warp
// takes words, hands them to the function and stores what comes out. The same source (ptx_kernels.cu) is
// compiled by nvcc and for the emulator, so that both can be asked the same questions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/launch.h"

namespace residuum::ptx {

inline constexpr size_t kLanes = 32;

/// Addresses are those of device memory. Words of registers stand register by register, 32 lanes each.
struct PtxKernel {
  std::string_view name;
  size_t words_in = 0, words_out = 0;
  void (*launch)(const uint32_t* in, uint32_t* out, kernels::Stream stream) = nullptr;
  bool by_warpgroup = false;  ///< four warps, by instructions that sm_90a alone has
};

std::span<const PtxKernel> ptx_kernels();
/// Whether this device has the kernel's instructions.
bool runs_here(const PtxKernel& kernel);

}  // namespace residuum::ptx
