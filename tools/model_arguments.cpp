#include "tools/model_arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/core/check.h"
#include "models/recipe_model.h"
#include "models/zoo.h"

namespace residuum {
namespace {

Option add_positive(const Command& command, const std::string& flag, int64_t& value,
                    const std::string& help) {
  return command.add_option(flag, value, help).positive();
}

}  // namespace

void add_model_arguments(const Command& command, ModelArguments& arguments) {
  command.add_option("model", arguments.name, "Name of the model, for example resnet50")
      .required()
      .type_name("NAME");
  add_positive(command, "--batch", arguments.batch, "Images in a batch").show_default();
  add_positive(command, "--image-size", arguments.image_size, "Height and width; default: the model's");
  add_positive(command, "--channels", arguments.channels, "Of the images; default: the model's");
  add_positive(command, "--classes", arguments.classes, "Default: the model's");
  command.add_flag("--v1", arguments.v1, "A bottleneck's stride on its first 1x1 (paper), not on its 3x3");
  command.add_option("--block", arguments.block, "Block of CIFAR nets: auto, basic or bottleneck")
      .one_of({"auto", "basic", "bottleneck"});
  command
      .add_option("--shortcut", arguments.shortcut, "auto, A (zeros), B (projection) or C (all projections)")
      .one_of({"auto", "A", "B", "C"});
  command.add_option("--zeros", arguments.zeros, "New channels of shortcut A: both_sides or end")
      .one_of({"both_sides", "end"});
  command
      .add_option(
          "--set", arguments.sets,
          "A key model.* of recipes (train --help-keys), such as model.gate=exclusive; may be repeated")
      .type_name("KEY=VALUE")
      .repeatable();
}

ModelOptions model_options(const ModelArguments& arguments) {
  ModelOptions options;
  options.batch = arguments.batch;
  options.image_size = arguments.image_size;
  options.channels = arguments.channels;
  options.classes = arguments.classes;
  std::vector<std::string> overrides = {
      "model.name=" + arguments.name, "train.steps=1", "model.block=" + arguments.block,
      "model.shortcut=" + arguments.shortcut, "model.zeros=" + arguments.zeros};
  if (arguments.v1) overrides.emplace_back("model.v1=true");
  for (const std::string& text : arguments.sets) {
    check(text.starts_with("model.") && !text.starts_with("model.classes") && !text.starts_with("model.name"),
          ErrorKind::kUsage, "--set is {}, allowed are keys model.* but name and classes", text);
    overrides.push_back(text);
  }
  apply_choices(parse_recipe("", "command line", overrides).model, options);
  return options;
}

std::string describe_models() {
  return fmt::format("Models: {}\nAny depth: {}", fmt::join(model_names(), ", "), model_patterns());
}

}  // namespace residuum
