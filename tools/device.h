// The options --device, --cublas, --cudnn, --autotune, --threads and --disable-pass, and the device they
// name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/train/recipe.h"
#include "tools/command.h"

namespace residuum {

struct DeviceOptions {
  std::string device = "auto";
  bool cublas = false;     ///< CUDA: linear layers by cuBLAS
  bool cudnn = false;      ///< CUDA: convolutions by cuDNN
  bool autotune = false;   ///< CUDA: every launch by what is fastest
  std::string cache_file;  ///< of the autotuner; empty: the usual one
};

/// --device.
void add_device_option(const Command& command, std::string& device);
/// --device, --cublas, --cudnn, --autotune and --autotune-cache.
void add_device_options(const Command& command, DeviceOptions& options);
void add_threads_option(const Command& command, int& threads);
/// --disable-pass; engine/train/switches.h knows the names.
void add_disable_pass_option(const Command& command, std::vector<std::string>& names);

/// The device for a recipe's threads (of the CPU, 0: every core this process may use), precision and
/// disable_passes; `ordinal` is which of the GPUs that the process sees. Throws Error(kDevice), in one line,
/// when this build or machine has no such device, and Error(kConfig) for a name in disable_passes that there
/// is not.
std::unique_ptr<Backend> open_device(const DeviceOptions& options, const TrainRecipe& recipe,
                                     int ordinal = 0);

}  // namespace residuum
