#include "tools/model_source.h"

#include "engine/checkpoint/safetensors.h"
#include "engine/core/check.h"
#include "engine/core/log.h"
#include "models/zoo.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

fs::path weights_path(const ModelSourceArguments& arguments) {
  if (!arguments.weights.empty() || arguments.run.empty()) return arguments.weights;
  return fs::path(arguments.run) / "checkpoints" / (arguments.best ? "best.safetensors" : "last.safetensors");
}

void check_there(const fs::path& weights) {
  check(weights.empty() || fs::exists(weights), ErrorKind::kCheckpoint, "there are no weights {}",
        weights.string());
}

/// The recipe that the trainer writes into the metadata of a weights file; empty in files from elsewhere.
std::string recipe_inside(const std::string& weights) {
  const SafetensorsMetadata metadata = SafetensorsFile::read(weights).metadata();
  const auto found = metadata.find("recipe");
  return found == metadata.end() ? std::string() : found->second;
}

Recipe find_recipe(const ModelSourceArguments& arguments, WeightsNeed need) {
  const std::vector<std::string> overrides = arguments.keys.overrides();
  if (!arguments.run.empty()) return load_run_recipe(arguments.run, overrides);
  if (!arguments.recipe.empty()) return load_recipe(arguments.recipe, overrides);
  const bool weights = !arguments.weights.empty();
  check(arguments.keys.value("--model").has_value() && (weights || need == WeightsNeed::kOptional),
        ErrorKind::kUsage, "--run DIR, or --model NAME{}, must say what is to be used",
        need == WeightsNeed::kNeeded ? " and --weights FILE" : "");
  const std::string inside = weights ? recipe_inside(arguments.weights) : "";
  if (!inside.empty() &&
      parse_recipe(inside, arguments.weights).model.name == arguments.keys.value("--model")) {
    log_info("normalisation and model options are those of the run that wrote {}", arguments.weights);
    return parse_recipe(inside, arguments.weights, overrides);
  }
  return parse_recipe("[train]\nepochs = 1\n", "command line", overrides);
}

}  // namespace

Recipe load_run_recipe(const std::filesystem::path& run, const std::vector<std::string>& overrides) {
  const fs::path file = run / "recipe.toml";
  check(fs::exists(file), ErrorKind::kCheckpoint, "'{}' holds no run of train: there is no {}", run.string(),
        file.string());
  return load_recipe(file, overrides);
}

void add_model_source(const Command& command, ModelSourceArguments& arguments) {
  command.add_option("--run", arguments.run, "A run of train: its recipe, data and last weights")
      .type_name("DIR");
  command.add_flag("--best", arguments.best, "With --run: the best weights instead of the last ones");
  command.add_option("--weights", arguments.weights, "safetensors file with torchvision's names")
      .type_name("FILE");
  command.add_option("--recipe", arguments.recipe, "Normalisation and model options from a recipe")
      .type_name("RECIPE.toml");
}

ModelSource find_model_source(const ModelSourceArguments& arguments, WeightsNeed need) {
  check(!arguments.best || !arguments.run.empty(), ErrorKind::kUsage, "--best needs --run DIR");
  check(!arguments.best || arguments.weights.empty(), ErrorKind::kUsage,
        "--best and --weights are both given, allowed is one of them");
  const fs::path weights = weights_path(arguments);
  if (arguments.run.empty()) check_there(weights);  // a run's recipe is missed first
  ModelSource source{find_recipe(arguments, need), weights};
  check_there(weights);
  check(!source.weights.empty() || need == WeightsNeed::kOptional, ErrorKind::kUsage,
        "--weights FILE is missing");
  model_defaults(source.recipe.model.name);  // throws for an unknown name
  return source;
}

}  // namespace residuum
