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

/// A graph for images that nobody has yet: of the size and number of classes that the recipe's model was
/// published with, unless the recipe says how many classes, and with as many channels as data.mean has
/// values, else as the model's own images. Throws Error(kConfig) for an unknown model.
GraphRequest published_request(const Recipe& recipe, Mode mode, int64_t batch);

/// The builder of the recipe's model. Its calls throw as build_model and model_options do.
ModelBuilder model_builder(const Recipe& recipe);

}  // namespace residuum
