#include "models/recipe_model.h"

#include "engine/core/check.h"
#include "models/zoo.h"

namespace residuum {
namespace {

std::optional<BlockKind> block_kind(BlockChoice choice) {
  switch (choice) {
    case BlockChoice::kAuto:
      return std::nullopt;
    case BlockChoice::kBasic:
      return BlockKind::kBasic;
    case BlockChoice::kBottleneck:
      return BlockKind::kBottleneck;
  }
  return std::nullopt;
}

std::optional<ShortcutKind> shortcut_kind(ShortcutChoice choice) {
  switch (choice) {
    case ShortcutChoice::kAuto:
      return std::nullopt;
    case ShortcutChoice::kA:
      return ShortcutKind::kZeros;
    case ShortcutChoice::kB:
      return ShortcutKind::kProjection;
    case ShortcutChoice::kC:
      return ShortcutKind::kProjectionEverywhere;
  }
  return std::nullopt;
}

std::optional<Placement> placement(PlacementChoice choice) {
  switch (choice) {
    case PlacementChoice::kAuto:
      return std::nullopt;
    case PlacementChoice::kOriginal:
      return Placement::kOriginal;
    case PlacementChoice::kNormAfterAddition:
      return Placement::kNormAfterAddition;
    case PlacementChoice::kReluBeforeAddition:
      return Placement::kReluBeforeAddition;
    case PlacementChoice::kReluOnlyPreActivation:
      return Placement::kReluOnlyPreActivation;
    case PlacementChoice::kPreActivation:
      return Placement::kPreActivation;
  }
  return std::nullopt;
}

std::optional<double> optional_value(const std::vector<double>& values) {
  return values.empty() ? std::nullopt : std::optional(values.front());
}

}  // namespace

void apply_choices(const ModelRecipe& model, ModelOptions& options) {
  options.zero_init_gamma = model.zero_init_gamma;
  options.v1 = model.v1;
  options.block = block_kind(model.block);
  options.shortcut = shortcut_kind(model.shortcut);
  options.zeros = model.zeros;
  options.placement = placement(model.placement);
  options.gate = model.gate;
  options.gate_bias = optional_value(model.gate_bias);
  options.shortcut_scale = model.shortcut_scale;
  options.branch_scale = model.branch_scale;
  options.shortcut_dropout = model.shortcut_dropout;
  options.survival = model.survival;
  options.sampled_blocks = model.sampled_blocks;
  options.dropout = optional_value(model.dropout);
  options.function = model.activation;
  options.batch_norm = model.batch_norm;
  options.carry = model.carry;
  options.compression = model.compression;
  options.init_scale = model.init_scale;
}

ModelOptions model_options(const Recipe& recipe, const GraphRequest& request) {
  check(request.image.height == request.image.width, ErrorKind::kConfig,
        "model {} needs square images, found {}", recipe.model.name, to_string(request.image));
  ModelOptions options;
  options.mode = request.mode;
  options.activation = activation_type(recipe.train.precision);
  options.batch = request.batch;
  options.image_size = request.image.height;
  options.channels = request.image.channels;
  options.classes = request.classes;
  options.mean.assign(recipe.data.mean.begin(), recipe.data.mean.end());
  options.std.assign(recipe.data.std.begin(), recipe.data.std.end());
  if (request.mode == Mode::kTrain)
    options.label_smoothing = static_cast<float>(recipe.train.label_smoothing);
  apply_choices(recipe.model, options);
  return options;
}

GraphRequest published_request(const Recipe& recipe, Mode mode, int64_t batch) {
  const ModelDefaults own = model_defaults(recipe.model.name);
  const auto size = static_cast<int>(own.image_size);
  const size_t channels = recipe.data.mean.empty() ? own.mean.size() : recipe.data.mean.size();
  return {mode,
          batch,
          {size, size, static_cast<int>(channels)},
          recipe.model.classes > 0 ? recipe.model.classes : own.classes};
}

ModelBuilder model_builder(const Recipe& recipe) {
  return [recipe](const GraphRequest& request) {
    return build_model(recipe.model.name, model_options(recipe, request));
  };
}

}  // namespace residuum
