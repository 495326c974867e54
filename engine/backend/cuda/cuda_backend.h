// The CUDA backend: hand-written kernels on one GPU, a step captured once and replayed as a CUDA graph.
#pragma once

#include <memory>

#include "engine/backend/backend.h"

namespace residuum::cuda {

/// Throws Error(kDevice), in one line, when this build or machine has no GPU that can be used.
std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options);

/// Prepares launches for plans on a machine without a GPU; everything that needs one throws Error(kDevice).
std::unique_ptr<Backend> make_cuda_planning_backend(const BackendOptions& options);

}  // namespace residuum::cuda
