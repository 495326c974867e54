// What a recipe means for loaders and passes.
#pragma once

#include <vector>

#include "engine/backend/backend.h"
#include "engine/data/loader.h"
#include "engine/graph/passes.h"
#include "engine/train/model_builder.h"
#include "engine/train/recipe.h"

namespace residuum {

/// This rank's part of every step.
struct Share {
  int rank = 0, ranks = 1;
  int64_t micro_steps = 1;  ///< on this rank
  bool in_pairs = false;    ///< train.virtual_shards: bits do not depend on the number of ranks

  /// The number of this rank's first micro-step, for what must differ between micro-steps. Without virtual
  /// shards each rank counts from 0 and has a seed of its own.
  uint32_t first_micro_step() const { return in_pairs ? static_cast<uint32_t>(rank * micro_steps) : 0; }
  uint64_t seed(const Recipe& recipe) const {
    return static_cast<uint64_t>(recipe.train.seed) ^ (in_pairs ? 0 : static_cast<uint64_t>(rank) << 44);
  }
  int64_t micro_batch(const Recipe& recipe) const { return recipe.train.batch / (ranks * micro_steps); }
};
/// Throws Error(kConfig) naming key and values when batch or shards cannot be divided like that.
Share share_of(const Recipe& recipe, int rank = 0, int ranks = 1);

LoaderOptions train_loader_options(const Recipe& recipe, const Share& share);
/// Whole batches: each rank evaluates every ranks-th one.
LoaderOptions eval_loader_options(const Recipe& recipe, int rank = 0, int ranks = 1);
/// model.classes, or the data set's when that is 0. Throws Error(kData) naming a sample with another label.
int64_t class_count(const Recipe& recipe, const Dataset& dataset);
UpdateOptions update_options(const Recipe& recipe, const Share& share);
/// The forward graph of one micro-step, with the images' windows when augmentation is done on the device.
Graph training_graph(const Recipe& recipe, const ModelBuilder& build, int64_t micro_batch,
                     const ImageShape& image, int64_t classes);
/// The names of weights and bias of the last linear layer.
std::vector<std::string> head_parameters(const Graph& forward);
/// The passes that make a training step of a forward graph on a backend, those that are switched off too.
std::vector<Pass> passes_of(const Recipe& recipe, const Backend& backend, const Share& share);
/// The graph of a training step. Throws Error(kConfig) when train.disable_passes names something that there
/// is not, or that training cannot do without.
Graph training_step(const Recipe& recipe, Graph forward, const Backend& backend, const Share& share);

}  // namespace residuum
