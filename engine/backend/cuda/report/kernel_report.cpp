#include "engine/backend/cuda/report/kernel_report.h"

#include <cuda_occupancy.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <tuple>

#include "engine/backend/cuda/report/kernel_name.h"
#include "engine/core/check.h"
#include "engine/core/program.h"
#include "kernels/conv/geometry.h"
#include "kernels/conv_backward_filter/tiles.h"

namespace residuum::cuda {
namespace {

namespace fs = std::filesystem;

/// Shared memory of each block that the system keeps on sm_80 and newer.
constexpr int kReservedShared = 1024;

/// CUDA programming guide, "Technical specifications per compute capability".
std::optional<cudaOccDeviceProp> device_properties(const std::string& arch) {
  cudaOccDeviceProp device;
  if (arch == "sm_80") {
    device.computeMajor = 8;
    device.numSms = 108;
    device.sharedMemPerMultiprocessor = 164 << 10;
  } else if (arch.starts_with("sm_90")) {
    device.computeMajor = 9;
    device.numSms = 132;
    device.sharedMemPerMultiprocessor = 228 << 10;
  } else {
    return std::nullopt;
  }
  device.maxThreadsPerBlock = 1024;
  device.maxThreadsPerMultiprocessor = 2048;
  device.regsPerBlock = 65536;
  device.regsPerMultiprocessor = 65536;
  device.warpSize = 32;
  device.sharedMemPerBlock = 48 << 10;
  device.reservedSharedMemPerBlock = kReservedShared;
  device.sharedMemPerBlockOptin = device.sharedMemPerMultiprocessor - kReservedShared;
  return device;
}

/// Dynamic shared memory of a convolution that gathers its pixels tap by tap, or keeps a ring of them; a
/// patch for all taps may need more or less.
int convolution_shared_bytes(kernels::TileName name, size_t element) {
  const kernels::Tile tile = kernels::tile_of(name);
  if (name < kernels::TileName::kFilterWide) {
    kernels::ConvGeometry gather;
    gather.kernel_h = gather.kernel_w = 1;
    gather.patch_rows = tile.rows;
    gather.patch_slots = gather.weight_slots = tile.stages;
    return static_cast<int>(kernels::conv_shared_bytes(gather, tile, element));
  }
  int elements = tile.stages * tile.depth * (tile.rows + tile.columns);
  if (kernels::has_all_taps(name)) {
    const int stride = kernels::taps_stride(name), channels = tile.columns / kernels::kFilterTapsCount;
    const int ring = kernels::filter_ring_steps(name) * tile.depth * stride * stride * channels;
    elements = tile.stages * tile.depth * tile.rows + ring;
  }
  return static_cast<int>(element) * elements;
}

/// sm_90 and newer: cuobjdump counts what the system keeps as the kernel's own.
int own_shared_bytes(const KernelId& id, const KernelResources& resources) {
  const bool counted = std::atoi(id.arch.c_str() + std::min(id.arch.size(), size_t{3})) >= 90;
  return counted ? std::max(0, resources.shared_bytes - kReservedShared) : resources.shared_bytes;
}

// ---- running the tool ----

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<fs::path> tool_folders() {
  std::vector<fs::path> folders = path_folders();
  if (const std::string home = variable("CUDA_HOME"); !home.empty())
    folders.push_back(fs::path(home) / "bin");
  folders.emplace_back("/usr/local/cuda/bin");
  std::error_code none;
  // Where tools/setup puts it: beside the folder of the program.
  const fs::path program = fs::read_symlink("/proc/self/exe", none);
  folders.push_back(program.parent_path().parent_path() / "cuda-disassembler" / "bin");
  // VENV/lib/python3.11/site-packages/nvidia/cu13/bin
  if (const std::string venv = variable("VIRTUAL_ENV"); !venv.empty()) {
    for (const auto& python : fs::directory_iterator(fs::path(venv) / "lib", none)) {
      const fs::path nvidia = python.path() / "site-packages" / "nvidia";
      for (const auto& package : fs::directory_iterator(nvidia, none))
        folders.push_back(package.path() / "bin");
    }
  }
  return folders;
}

fs::path find_cuobjdump(const fs::path& given) {
  if (!given.empty()) {
    check(is_program(given), ErrorKind::kUsage, "cuobjdump '{}' is not a program that can be run",
          given.string());
    return given;
  }
  if (const auto found = find_program({"cuobjdump"}, tool_folders())) return *found;
  fail(ErrorKind::kUsage,
       "cuobjdump was not found on PATH, in $CUDA_HOME/bin or in /usr/local/cuda/bin: it is part of the CUDA "
       "toolkit and of the PyPI packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm; --cuobjdump names "
       "it");
}

/// Everything `tool option binary` prints.
std::string output_of(const fs::path& tool, const char* option, const fs::path& binary) {
  constexpr double kSeconds = 600;  // a large program's machine code takes one
  const ProgramResult result = run_program(tool, {option, binary.string()}, kSeconds);
  if (result.exit_code == 0) return result.output;
  const std::string text = result.output + result.errors;
  const ErrorKind kind =
      text.find("does not contain device code") != std::string::npos ? ErrorKind::kDevice : ErrorKind::kUsage;
  const std::string said = text.substr(0, std::min(text.find('\n'), size_t{300}));
  fail(kind, "{} {} {}: {}", tool.string(), option, binary.string(), said.empty() ? "failed" : said);
}

}  // namespace

std::optional<int> blocks_per_multiprocessor(const std::string& arch, int threads, int registers,
                                             int shared_bytes, int dynamic_shared_bytes) {
  const auto device = device_properties(arch);
  if (!device) return std::nullopt;
  cudaOccFuncAttributes attributes;
  attributes.maxThreadsPerBlock = threads;
  attributes.numRegs = registers;
  attributes.sharedSizeBytes = static_cast<size_t>(shared_bytes);
  attributes.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  attributes.maxDynamicSharedSizeBytes = static_cast<size_t>(dynamic_shared_bytes);
  attributes.numBlockBarriers = 1;
  const cudaOccDeviceState state;
  cudaOccResult result{};
  const cudaOccError status = cudaOccMaxActiveBlocksPerMultiprocessor(
      &result, &*device, &attributes, &state, threads, static_cast<size_t>(dynamic_shared_bytes));
  check(status == CUDA_OCC_SUCCESS, ErrorKind::kInternal,
        "cuda_occupancy.h refuses {} threads, {} registers, {} + {} bytes on {}", threads, registers,
        shared_bytes, dynamic_shared_bytes, arch);
  return result.activeBlocksPerMultiprocessor;
}

KernelReport make_kernel_report(std::string_view resource_usage, std::string_view elf,
                                std::string_view sass) {
  const ElfAttributes attributes = parse_elf(elf);
  const auto code = parse_sass(sass);
  KernelReport report{attributes.compiler, {}};
  for (const auto& [id, resources] : parse_resource_usage(resource_usage)) {
    const KernelName name = kernel_name(id.symbol);
    KernelRow row;
    row.name = name.text;
    row.arch = id.arch;
    row.registers = resources.registers;
    row.shared_bytes = own_shared_bytes(id, resources);
    if (name.tile) row.dynamic_shared_bytes = convolution_shared_bytes(*name.tile, name.element_bytes);
    row.stack_bytes = resources.stack_bytes;
    row.local_bytes = resources.local_bytes;
    if (const auto threads = attributes.max_threads.find(id); threads != attributes.max_threads.end()) {
      row.threads = threads->second;
      row.blocks = blocks_per_multiprocessor(id.arch, *row.threads, row.registers, row.shared_bytes,
                                             row.dynamic_shared_bytes.value_or(0));
    }
    if (row.blocks) {
      const int most = device_properties(id.arch)->maxThreadsPerMultiprocessor;
      row.occupancy = static_cast<double>(*row.blocks) * *row.threads / most;
    }
    if (const auto found = code.find(id); found != code.end()) {
      row.loop = main_loop_mix(found->second);
      row.local_accesses = local_accesses(found->second);
    }
    report.rows.push_back(std::move(row));
  }
  std::stable_sort(report.rows.begin(), report.rows.end(), [](const KernelRow& a, const KernelRow& b) {
    return std::tie(a.name, a.arch) < std::tie(b.name, b.arch);
  });
  return report;
}

KernelReport kernel_report(const fs::path& binary, const fs::path& cuobjdump) {
  check(fs::is_regular_file(binary), ErrorKind::kUsage, "binary '{}' is not a file", binary.string());
  const fs::path tool = find_cuobjdump(cuobjdump);
  const fs::path file = fs::canonical(binary);  // /proc/self is another process to the tool
  KernelReport report =
      make_kernel_report(output_of(tool, "--dump-resource-usage", file), output_of(tool, "--dump-elf", file),
                         output_of(tool, "--dump-sass", file));
  check(!report.rows.empty(), ErrorKind::kDevice, "'{}' contains no GPU kernel", binary.string());
  return report;
}

}  // namespace residuum::cuda
