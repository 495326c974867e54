// The data set that a recipe names.
#pragma once

#include <memory>

#include "engine/data/dataset.h"
#include "engine/train/recipe.h"

namespace residuum {

/// Grey when the recipe normalises one channel, else RGB; oriented as the recipe says.
OpenOptions open_options(const DataRecipe& data);

/// Opens one split of recipe.data.path. Images of varying size that the recipe does not resize for evaluation
/// get the model's: `recipe` is completed with data.eval_resize and data.eval_crop. Throws Error(kConfig)
/// when the recipe names no path, and what open_dataset throws.
std::unique_ptr<Dataset> open_split(Recipe& recipe, Split split);

}  // namespace residuum
