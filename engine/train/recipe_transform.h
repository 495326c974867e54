// The transforms of images that a recipe asks for.
#pragma once

#include "engine/data/transform.h"
#include "engine/train/recipe.h"

namespace residuum {

/// Augmentation of training images. Precondition: `data` passed check_combinations.
Transform train_transform(const DataRecipe& data);

/// Resize and central crop of evaluation images, or the images as they are. Precondition as above.
Transform eval_transform(const DataRecipe& data);

}  // namespace residuum
