// A model without a recipe on the command line: the options of summary and plan.
#pragma once

#include <string>
#include <vector>

#include "models/model.h"
#include "tools/command.h"

namespace residuum {

struct ModelArguments {
  std::string name, block = "auto", shortcut = "auto", zeros = "both_sides";
  int64_t batch = 1, image_size = 0, channels = 0, classes = 0;
  bool v1 = false;
  std::vector<std::string> sets;  ///< "model.gate=exclusive"
};

void add_model_arguments(const Command& command, ModelArguments& arguments);

/// As build_model wants them. Throws Error(kUsage) for a --set that is not of the model, and as parse_recipe.
ModelOptions model_options(const ModelArguments& arguments);

/// The models there are, for help texts.
std::string describe_models();

}  // namespace residuum
