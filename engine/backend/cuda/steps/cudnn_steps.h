// Convolutions as steps of cuDNN.
#pragma once

#include <optional>

#include "engine/backend/cuda/steps/steps.h"

namespace residuum::cuda {

/// The algorithms cuDNN offers for a node; none when it is no convolution, the options have no cuDNN, or the
/// node's result is of another type than its factors.
std::vector<CudnnAlgorithm> cudnn_algorithms(const StepSource& source);

/// The node by the algorithm that the options choose; nothing when cudnn_algorithms has none.
std::optional<Step> cudnn_step(const StepSource& source);

}  // namespace residuum::cuda
