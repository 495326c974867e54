// Which trained model eval and predict use: the one of a run, or a weights file with a model's name.
#pragma once

#include <filesystem>
#include <string>

#include "engine/train/recipe.h"
#include "tools/command.h"
#include "tools/recipe_arguments.h"

namespace residuum {

struct ModelSourceArguments {
  std::string run, weights, recipe;
  bool best = false;
  RecipeArguments keys;
};

void add_model_source(const Command& command, ModelSourceArguments& arguments);

struct ModelSource {
  Recipe recipe;  ///< model, normalisation and evaluation transform
  std::filesystem::path weights;
};

enum class WeightsNeed : uint8_t {
  kNeeded,
  kOptional,  ///< without --run and --weights the path is empty: a fresh model
};

/// recipe.toml of a run's directory, changed by `overrides`. Throws Error(kCheckpoint) for another directory.
Recipe load_run_recipe(const std::filesystem::path& run, const std::vector<std::string>& overrides = {});

/// The recipe is, in this order: that of --run, --recipe, the recipe.toml of the run whose checkpoints/ holds
/// the weights (named on standard error), or the defaults of --model. --set and the flags change it.
/// Throws Error(kUsage) when neither --run nor --model (and, where needed, --weights) is given, and
/// Error(kConfig, kIo, kCheckpoint): the last for a run or weights that are not there.
ModelSource find_model_source(const ModelSourceArguments& arguments, WeightsNeed need = WeightsNeed::kNeeded);

}  // namespace residuum
