// A report about GPU code that needs no GPU: what the compiler made of every kernel in a binary, read by
// cuobjdump (CUDA toolkit, or the PyPI packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm).
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/backend/cuda/report/cuobjdump_text.h"

namespace residuum::cuda {

/// One kernel variant for one architecture.
struct KernelRow {
  std::string name, arch;
  int registers = 0;
  int shared_bytes = 0;                     ///< static, without what the system keeps
  std::optional<int> dynamic_shared_bytes;  ///< of the launch where it is fixed (convolutions: gather)
  int stack_bytes = 0, local_bytes = 0;
  int local_accesses = 0;           ///< instructions
  std::optional<int> threads;       ///< of a block: its launch bound
  std::optional<int> blocks;        ///< that fit a multiprocessor; of architectures we know
  std::optional<double> occupancy;  ///< warps that fit / warps that a multiprocessor holds
  InstructionMix loop;

  /// Registers in local memory, or arrays on the stack.
  bool spills() const { return stack_bytes > 0 || local_bytes > 0 || local_accesses > 0; }
};

struct KernelReport {
  std::string compiler;         ///< "Cuda compilation tools, release 13.0, V13.0.88"
  std::vector<KernelRow> rows;  ///< by name, then architecture
};

/// Blocks of a kernel that fit a multiprocessor of `arch` (sm_80: A100, sm_90: H100), by cuda_occupancy.h;
/// nothing for other architectures.
std::optional<int> blocks_per_multiprocessor(const std::string& arch, int threads, int registers,
                                             int shared_bytes, int dynamic_shared_bytes);

/// The report from cuobjdump's three texts.
KernelReport make_kernel_report(std::string_view resource_usage, std::string_view elf, std::string_view sass);

/// Runs `cuobjdump` (empty: looked for on PATH, in $CUDA_HOME/bin, in /usr/local/cuda/bin and in the PyPI
/// package of an active virtual environment) on `binary`. Throws Error(kUsage) without the tool or without
/// the file, Error(kDevice) when there is no GPU code in it.
KernelReport kernel_report(const std::filesystem::path& binary, const std::filesystem::path& cuobjdump);

}  // namespace residuum::cuda
