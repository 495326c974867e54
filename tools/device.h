// The options --device and --threads, and the device they name.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "engine/backend/backend.h"

namespace residuum {

struct DeviceOptions {
  std::string device = "auto";
  int threads = 0;  ///< of the CPU; 0: every core this process may use
};

void add_device_option(CLI::App& command, std::string& device);
void add_threads_option(CLI::App& command, int& threads);

/// Throws Error(kDevice), in one line, when this build or machine has no such device.
std::unique_ptr<Backend> open_device(const DeviceOptions& options);

}  // namespace residuum
