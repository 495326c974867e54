// The options --device, --cublas and --threads, and the device they name.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "engine/backend/backend.h"
#include "engine/train/precision.h"

namespace residuum {

struct DeviceOptions {
  std::string device = "auto";
  bool cublas = false;  ///< CUDA: linear layers by cuBLAS
};

/// --device and --cublas.
void add_device_options(CLI::App& command, DeviceOptions& options);
void add_threads_option(CLI::App& command, int& threads);

/// `threads` are of the CPU, 0: every core this process may use. Throws Error(kDevice), in one line, when
/// this build or machine has no such device.
std::unique_ptr<Backend> open_device(const DeviceOptions& options, int threads, Precision precision);

}  // namespace residuum
