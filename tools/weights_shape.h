// What a weights file says about its model's input and output.
#pragma once

#include <cstdint>

#include "engine/checkpoint/safetensors.h"
#include "engine/train/recipe.h"

namespace residuum {

struct WeightsShape {
  int64_t channels = 0, classes = 0;
  int size =
      0;  ///< height and width of the images; of a net with convolutions, which fits many, those of its paper
};

/// Images and number of classes that `weights` were trained for, from the extents of the first convolution,
/// or without one those of the first fully connected layer (of square images), and of the last fully
/// connected layer of recipe.model. Throws Error(kCheckpoint) when the file lacks one of them.
WeightsShape weights_shape(const Recipe& recipe, const SafetensorsFile& weights);

}  // namespace residuum
