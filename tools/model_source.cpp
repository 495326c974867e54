#include "tools/model_source.h"

#include <spdlog/spdlog.h>

#include "engine/checkpoint/safetensors.h"
#include "engine/core/check.h"
#include "models/zoo.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRecipeFile = "recipe.toml";

fs::path weights_path(const ModelSourceArguments& arguments) {
  if (!arguments.weights.empty() || arguments.run.empty()) return arguments.weights;
  return fs::path(arguments.run) / "checkpoints" / (arguments.best ? "best.safetensors" : "last.safetensors");
}

/// The recipe that the trainer writes into the metadata of a weights file; empty in files from elsewhere.
std::string recipe_inside(const std::string& weights) {
  const SafetensorsMetadata metadata = SafetensorsFile::read(weights).metadata();
  const auto found = metadata.find("recipe");
  return found == metadata.end() ? std::string() : found->second;
}

Recipe find_recipe(const ModelSourceArguments& arguments, WeightsNeed need) {
  const std::vector<std::string> overrides = arguments.keys.overrides();
  if (!arguments.run.empty()) return load_recipe(fs::path(arguments.run) / kRecipeFile, overrides);
  if (!arguments.recipe.empty()) return load_recipe(arguments.recipe, overrides);
  const bool weights = !arguments.weights.empty();
  check(arguments.keys.value("--model").has_value() && (weights || need == WeightsNeed::kOptional),
        ErrorKind::kUsage, "--run DIR, or --model NAME{}, must say what is to be used",
        need == WeightsNeed::kNeeded ? " and --weights FILE" : "");
  const std::string inside = weights ? recipe_inside(arguments.weights) : "";
  if (!inside.empty() &&
      parse_recipe(inside, arguments.weights).model.name == arguments.keys.value("--model")) {
    spdlog::info("normalisation and model options are those of the run that wrote {}", arguments.weights);
    return parse_recipe(inside, arguments.weights, overrides);
  }
  return parse_recipe("[train]\nepochs = 1\n", "command line", overrides);
}

}  // namespace

void add_model_source(CLI::App& command, ModelSourceArguments& arguments) {
  command.add_option("--run", arguments.run, "A run of train: its recipe, data and last weights")
      ->type_name("DIR");
  command.add_flag("--best", arguments.best, "With --run: the best weights instead of the last ones");
  command.add_option("--weights", arguments.weights, "safetensors file with torchvision's names")
      ->type_name("FILE");
  command.add_option("--recipe", arguments.recipe, "Normalisation and model options from a recipe")
      ->type_name("RECIPE.toml");
}

ModelSource find_model_source(const ModelSourceArguments& arguments, WeightsNeed need) {
  check(!arguments.best || !arguments.run.empty(), ErrorKind::kUsage, "--best needs --run DIR");
  check(!arguments.best || arguments.weights.empty(), ErrorKind::kUsage,
        "--best and --weights are both given, allowed is one of them");
  ModelSource source{find_recipe(arguments, need), weights_path(arguments)};
  check(!source.weights.empty() || need == WeightsNeed::kOptional, ErrorKind::kUsage,
        "--weights FILE is missing");
  model_defaults(source.recipe.model.name);  // throws for an unknown name
  return source;
}

}  // namespace residuum
