#include "models/zoo.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "engine/core/check.h"
#include "engine/core/nearest.h"

namespace residuum {
namespace {

constexpr auto kFamilies = {
    find_resnet, find_preactivation_resnet, find_cifar_resnet, find_wide_resnet, find_densenet, find_highway};
constexpr auto kFamilyNames = {resnet_names,       preactivation_resnet_names,
                               cifar_resnet_names, wide_resnet_names,
                               densenet_names,     highway_names};

Model find_model(std::string_view name) {
  for (const auto find : kFamilies) {
    if (std::optional<Model> model = find(name)) return *std::move(model);
  }
  fail(ErrorKind::kConfig, "unknown model '{}', nearest are {}; any depth: {}", name,
       fmt::join(nearest(name, model_names(), 3), ", "), model_patterns());
}

void check_range(const Model& model, std::string_view option, int64_t value, int64_t largest) {
  check(value >= 1 && value <= largest, ErrorKind::kConfig, "model {}: option {} is {}, allowed is 1 to {}",
        model.name, option, value, largest);
}

/// Names of the options that were given, of those that Model::options lists.
std::vector<std::string_view> given_options(const ModelOptions& options) {
  const ModelOptions unset;
  const std::pair<std::string_view, bool> all[] = {
      {"zero_init_gamma", options.zero_init_gamma},
      {"v1", options.v1},
      {"block", options.block.has_value()},
      {"shortcut", options.shortcut.has_value()},
      {"zeros", options.zeros != unset.zeros},
      {"placement", options.placement.has_value()},
      {"gate", options.gate != unset.gate},
      {"gate_bias", options.gate_bias.has_value()},
      {"shortcut_scale", options.shortcut_scale != unset.shortcut_scale},
      {"branch_scale", options.branch_scale != unset.branch_scale},
      {"shortcut_dropout", options.shortcut_dropout != unset.shortcut_dropout},
      {"survival", options.survival != unset.survival},
      {"sampled_blocks", options.sampled_blocks != unset.sampled_blocks},
      {"dropout", options.dropout.has_value()},
      {"activation", options.function != unset.function},
      {"batch_norm", !options.batch_norm},
      {"carry", options.carry != unset.carry},
      {"compression", options.compression != unset.compression},
  };
  std::vector<std::string_view> names;
  for (const auto& [name, given] : all) {
    if (given) names.push_back(name);
  }
  return names;
}

/// Throws for an option that the model does not have, and for one out of range.
void check_options(const Model& model, const ModelOptions& options) {
  for (const std::string_view name : given_options(options)) {
    const bool known = std::find(model.options.begin(), model.options.end(), name) != model.options.end();
    check(known, ErrorKind::kConfig, "model {} has no option {}: it must be left out, allowed are {}",
          model.name, name, fmt::join(model.options, ", "));
  }
  const auto require = [&](std::string_view name, double value, bool fits, std::string_view allowed) {
    check(fits, ErrorKind::kConfig, "model {}: option {} is {}, allowed is {}", model.name, name, value,
          allowed);
  };
  const auto require_probability = [&](std::string_view name, double value) {
    require(name, value, value >= 0 && value < 1, "0 to below 1");
  };
  require_probability("shortcut_dropout", options.shortcut_dropout);
  require_probability("dropout", options.dropout.value_or(0));
  require("survival", options.survival, options.survival > 0 && options.survival <= 1, "above 0 to 1");
  require("compression", options.compression, options.compression >= 0 && options.compression <= 1,
          "above 0 to 1");
  require("init_scale", options.init_scale, options.init_scale > 0, "above 0");
}

/// Random initial values times `factor`.
void scale_inits(Graph& graph, double factor) {
  for (auto& [id, init] : graph.inits) {
    if (init.kind != Init::Kind::kConstant) init.value *= factor;
  }
}

/// Per-channel statistics: those given, else the model's for RGB, else `neutral`.
std::vector<float> statistics(const Model& model, std::string_view option, std::vector<float> given,
                              const std::vector<float>& own, int64_t channels) {
  constexpr float kNeutral = 0.5f;  // maps [0, 1] to [-1, 1] when both mean and std are neutral
  const size_t count = static_cast<size_t>(channels);
  if (given.empty()) given = count == own.size() ? own : std::vector<float>(count, kNeutral);
  check(given.size() == count, ErrorKind::kConfig,
        "model {}: option {} has {} values, allowed is one for each of {} channels", model.name, option,
        given.size(), channels);
  return given;
}

/// The options with the model's own values in place of zeros.
ModelOptions resolve(const Model& model, ModelOptions options) {
  const ModelDefaults& own = model.defaults;
  check_options(model, options);
  if (options.image_size == 0) options.image_size = own.image_size;
  if (options.channels == 0) options.channels = static_cast<int64_t>(own.mean.size());
  if (options.classes == 0) options.classes = own.classes;
  check_range(model, "batch", options.batch, 1 << 20);
  check_range(model, "image_size", options.image_size, 1 << 14);
  check_range(model, "channels", options.channels, 1 << 10);
  check_range(model, "classes", options.classes, 1 << 20);
  options.mean = statistics(model, "mean", std::move(options.mean), own.mean, options.channels);
  options.std = statistics(model, "std", std::move(options.std), own.std, options.channels);
  for (const float value : options.std) {
    check(value > 0, ErrorKind::kConfig, "model {}: option std holds {}, allowed is above 0", model.name,
          value);
  }
  check(options.label_smoothing >= 0 && options.label_smoothing < 1, ErrorKind::kConfig,
        "model {}: option label_smoothing is {}, allowed is 0 to below 1", model.name,
        options.label_smoothing);
  check(options.activation == DType::kF32 || options.activation == DType::kBF16 ||
            options.activation == DType::kF16,
        ErrorKind::kConfig, "model {}: option activation is {}, allowed are f32, bf16 and f16", model.name,
        to_string(options.activation));
  return options;
}

}  // namespace

ModelDefaults imagenet_defaults() {
  return {
      .image_size = 224, .classes = 1000, .mean = {0.485f, 0.456f, 0.406f}, .std = {0.229f, 0.224f, 0.225f}};
}

ModelDefaults cifar_defaults() {
  return {.image_size = 32,
          .classes = 10,
          .mean = {0.4914f, 0.4822f, 0.4465f},
          .std = {0.2470f, 0.2435f, 0.2616f}};
}

ModelDefaults mnist_defaults() {
  return {.image_size = 28, .classes = 10, .mean = {0.1307f}, .std = {0.3081f}};
}

Graph build_model(std::string_view name, const ModelOptions& options) {
  const Model model = find_model(name);
  const ModelOptions resolved = resolve(model, options);
  GraphBuilder builder(resolved.mode, resolved.activation);
  const ValueId images = builder.images(resolved.batch, resolved.image_size, resolved.image_size,
                                        resolved.channels, resolved.mean, resolved.std);
  builder.classification_loss(model.net(builder, resolved, images), resolved.label_smoothing);
  Graph graph = builder.take();
  scale_inits(graph, resolved.init_scale);
  return graph;
}

ModelDefaults model_defaults(std::string_view name) {
  return find_model(name).defaults;
}

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const auto family : kFamilyNames) {
    for (std::string& name : family()) names.push_back(std::move(name));
  }
  return names;
}

std::string model_patterns() {
  return "cifar_resnetN, cifar_plainN, cifar_preresnetN (N = 6n+2 or 9n+2), cifar_wrnN_K (N = 6n+4, K times "
         "as wide), cifar_densenetN_K (N = 3n+4, growth K), cifar_densenet_bcN_K (N = 6n+4), "
         "mnist_highwayN_W and mnist_plainN_W (N fully connected layers of width W)";
}

}  // namespace residuum
