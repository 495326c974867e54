// What a weights file says about its model's input and output.
#pragma once

#include <cstdint>

#include "engine/checkpoint/safetensors.h"
#include "engine/train/recipe.h"

namespace residuum {

struct WeightsShape {
  int64_t channels = 0, classes = 0;
};

/// Channels of the images and number of classes that `weights` were trained for: the extents of the first
/// convolution, where recipe.model has one, and of its last fully connected layer. Throws Error(kCheckpoint)
/// when the file lacks one of them.
WeightsShape weights_shape(const Recipe& recipe, const SafetensorsFile& weights);

}  // namespace residuum
