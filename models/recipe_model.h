// From a recipe to its model.
#pragma once

#include "engine/train/model_builder.h"
#include "engine/train/recipe.h"
#include "models/model.h"

namespace residuum {

/// Writes what a recipe chooses about the model itself.
void apply_choices(const ModelRecipe& model, ModelOptions& options);

/// What recipe and request ask of the recipe's model. The label smoothing is that of training: the loss of an
/// evaluation is the plain cross-entropy. Throws Error(kConfig) for images that are not square.
ModelOptions model_options(const Recipe& recipe, const GraphRequest& request);

/// The builder of the recipe's model. Its calls throw as build_model and model_options do.
ModelBuilder model_builder(const Recipe& recipe);

}  // namespace residuum
