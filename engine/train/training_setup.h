// What a recipe means for loaders and passes.
#pragma once

#include <vector>

#include "engine/backend/backend.h"
#include "engine/data/loader.h"
#include "engine/graph/passes.h"
#include "engine/train/model_builder.h"
#include "engine/train/recipe.h"

namespace residuum {

LoaderOptions train_loader_options(const Recipe& recipe);
LoaderOptions eval_loader_options(const Recipe& recipe);
/// model.classes, or the data set's when that is 0.
int64_t class_count(const Recipe& recipe, const Dataset& dataset);
UpdateOptions update_options(const Recipe& recipe);
/// The forward graph of one micro-step, with the images' windows when augmentation is done on the device.
Graph training_graph(const Recipe& recipe, const ModelBuilder& build, int64_t micro_batch,
                     const ImageShape& image, int64_t classes);
/// The passes that make a training step of a forward graph on a backend.
std::vector<Pass> passes_of(const Recipe& recipe, const Backend& backend);

}  // namespace residuum
