// Finding where a NaN or infinity came from: the failing batch is run once more with every value kept.
#pragma once

#include <map>
#include <span>
#include <string>

#include "engine/exec/executor.h"

namespace residuum {

struct NonFinite {
  std::string value;      ///< "layer1.0.conv1.conv", empty when this batch gives only finite values
  std::string operation;  ///< "conv"
  std::string phase;      ///< "forward" or "backward"
};

/// The inputs of a step by name: "images", "labels", with augmentation on the device "windows".
using StepInputs = std::map<std::string, std::span<const std::byte>>;

/// Runs forward and backward of `forward` (a training graph before any pass) on `inputs` with the
/// weights of `state`, gradients multiplied by `loss_scale`, and returns the first value, in execution order,
/// that is not finite. Needs memory for every value at once.
NonFinite find_non_finite(const Graph& forward, Backend& backend, State& state, const StepParams& params,
                          const StepInputs& inputs, float loss_scale);

}  // namespace residuum
