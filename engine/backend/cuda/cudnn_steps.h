// Convolutions as steps of cuDNN.
#pragma once

#include <optional>

#include "engine/backend/cuda/steps.h"

namespace residuum::cuda {

/// The algorithms cuDNN offers for the convolution node, which computes `pass` of `shape`; none when the
/// options have no cuDNN, or the result of the node is of another type than its factors.
std::vector<CudnnAlgorithm> cudnn_algorithms(const StepSource& source, const ConvShape& shape,
                                             CudnnPass pass);

/// The node by the algorithm that the options choose; nothing when cudnn_algorithms has none.
std::optional<Step> cudnn_step(const StepSource& source, const ConvShape& shape, CudnnPass pass);

}  // namespace residuum::cuda
