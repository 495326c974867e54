// Finding where a NaN or infinity came from: the failing batch is run once more with every value kept.
#pragma once

#include <string>

#include "engine/exec/executor.h"

namespace residuum {

struct NonFinite {
  std::string value;      ///< "layer1.0.conv1.conv", empty when this batch gives only finite values
  std::string operation;  ///< "conv"
  std::string phase;      ///< "forward" or "backward"
};

/// Runs forward and backward of `forward` (a training graph before any pass) on the given inputs with the
/// weights of `state`, gradients multiplied by `loss_scale`, and returns the first value, in execution order,
/// that is not finite. Needs memory for every value at once.
NonFinite find_non_finite(const Graph& forward, Backend& backend, State& state, const StepParams& params,
                          std::span<const uint8_t> images, std::span<const int32_t> labels, float loss_scale);

}  // namespace residuum
