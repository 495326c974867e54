// The options --device, --cublas, --cudnn, --autotune and --threads, and the device they name.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "engine/backend/backend.h"
#include "engine/train/precision.h"

namespace residuum {

struct DeviceOptions {
  std::string device = "auto";
  bool cublas = false;     ///< CUDA: linear layers by cuBLAS
  bool cudnn = false;      ///< CUDA: convolutions by cuDNN
  bool autotune = false;   ///< CUDA: every launch by what is fastest
  std::string cache_file;  ///< of the autotuner; empty: the usual one
};

/// --device, --cublas, --cudnn, --autotune and --autotune-cache.
void add_device_options(CLI::App& command, DeviceOptions& options);
void add_threads_option(CLI::App& command, int& threads);

/// `threads` are of the CPU, 0: every core this process may use. Throws Error(kDevice), in one line, when
/// this build or machine has no such device.
/// `ordinal` is which of the GPUs that the process sees.
std::unique_ptr<Backend> open_device(const DeviceOptions& options, int threads, Precision precision,
                                     int ordinal = 0);

}  // namespace residuum
