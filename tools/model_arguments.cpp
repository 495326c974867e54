#include "tools/model_arguments.h"

#include <fmt/ranges.h>

#include <map>

#include "models/zoo.h"

namespace residuum {
namespace {

const std::map<std::string, std::optional<BlockKind>> kBlocks = {
    {"auto", std::nullopt}, {"basic", BlockKind::kBasic}, {"bottleneck", BlockKind::kBottleneck}};
const std::map<std::string, std::optional<ShortcutKind>> kShortcuts = {
    {"auto", std::nullopt},
    {"A", ShortcutKind::kZeros},
    {"B", ShortcutKind::kProjection},
    {"C", ShortcutKind::kProjectionEverywhere}};
const std::map<std::string, ZeroChannels> kZeros = {{"both_sides", ZeroChannels::kBothSides},
                                                    {"end", ZeroChannels::kEnd}};

CLI::Option* add_positive(CLI::App& command, const std::string& flag, int64_t& value,
                          const std::string& help) {
  return command.add_option(flag, value, help)->check(CLI::PositiveNumber);
}

}  // namespace

void add_model_arguments(CLI::App& command, ModelArguments& arguments) {
  command.add_option("model", arguments.name, "Name of the model, for example resnet50")
      ->required()
      ->type_name("NAME");
  add_positive(command, "--batch", arguments.batch, "Images in a batch")->capture_default_str();
  add_positive(command, "--image-size", arguments.image_size, "Height and width; default: the model's");
  add_positive(command, "--channels", arguments.channels, "Of the images; default: 3");
  add_positive(command, "--classes", arguments.classes, "Default: the model's");
  command.add_flag("--v1", arguments.v1, "A bottleneck's stride on its first 1x1 (paper), not on its 3x3");
  command.add_option("--block", arguments.block, "Block of CIFAR nets: auto, basic or bottleneck")
      ->check(CLI::IsMember(&kBlocks));
  command
      .add_option("--shortcut", arguments.shortcut, "auto, A (zeros), B (projection) or C (all projections)")
      ->check(CLI::IsMember(&kShortcuts));
  command.add_option("--zeros", arguments.zeros, "New channels of shortcut A: both_sides or end")
      ->check(CLI::IsMember(&kZeros));
}

ModelOptions model_options(const ModelArguments& arguments) {
  ModelOptions options;
  options.batch = arguments.batch;
  options.image_size = arguments.image_size;
  options.channels = arguments.channels;
  options.classes = arguments.classes;
  options.v1 = arguments.v1;
  options.block = kBlocks.at(arguments.block);
  options.shortcut = kShortcuts.at(arguments.shortcut);
  options.zeros = kZeros.at(arguments.zeros);
  return options;
}

std::string describe_models() {
  return fmt::format("Models: {}\nAny depth: {}", fmt::join(model_names(), ", "), model_patterns());
}

}  // namespace residuum
