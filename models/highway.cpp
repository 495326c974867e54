// Highway nets (Srivastava 2015, "Training very deep networks"). CIFAR: cifar_highway19 as the authors
// published it; of the nets with 11 and 32 layers the papers print depth and size only (about 236 K and 1.25
// M parameters), and cifar_highway11 and cifar_highway32 follow the plan of the former. 28x28 images: the
// convolutional net with 10 layers, published too, and mnist_highwayN_W, a plain layer of width W and N - 1
// highway layers, all fully connected, with its plain twin mnist_plainN_W. No net has BN.
#include <array>

#include "engine/core/check.h"
#include "models/highway_block.h"
#include "models/layer_function.h"
#include "models/model.h"
#include "models/model_name.h"

namespace residuum {
namespace {

/// A run of highway layers of one width.
struct HighwayStage {
  int64_t width = 0, layers = 0;
  int64_t kernel = 0, pad = 0;  ///< of the plain convolution that makes the width; 0: the width is there
  int64_t pool = 0;             ///< window of the max pooling with stride 2 after it; 0: none
  double dropout = 0;           ///< after the pooling
};

struct HighwayNet {
  std::string name;
  std::vector<HighwayStage> stages;
  int64_t head = 0;  ///< filters of a last 1x1 convolution before the global pooling; 0: neither
  double dropout_in = 0, dropout_out = 0;  ///< of the images and before the classifier
  HighwayStyle style;
  bool zeros = false;  ///< a width is made by sub-sampling and zero channels, without pooling and convolution
};

ValueId drop(GraphBuilder& builder, ValueId src, double probability) {
  return builder.dropout(src, static_cast<float>(probability));
}

/// The stage's entry: by a plain layer, or without parameters.
ValueId enter(GraphBuilder& builder, const HighwayNet& net, size_t stage, ValueId src) {
  const HighwayStage& s = net.stages[stage];
  if (net.zeros && stage > 0) return builder.shortcut_a(src, 2, s.width, ZeroChannels::kBothSides);
  if (s.kernel == 0) return src;
  const ValueId x = kaiming_conv(builder, fmt::format("conv{}", stage + 1), src, s.width, s.kernel, s.pad);
  return layer_function(builder, net.style.function, x);
}

ValueId convolutional(GraphBuilder& builder, const HighwayNet& net, ValueId images, int64_t classes) {
  ValueId x = drop(builder, images, net.dropout_in);
  for (size_t s = 0; s < net.stages.size(); ++s) {
    const HighwayStage& stage = net.stages[s];
    x = enter(builder, net, s, x);
    for (int64_t i = 0; i < stage.layers; ++i) {
      x = highway_conv(builder, fmt::format("highway{}.{}", s + 1, i), net.style, 3, x);
    }
    if (stage.pool > 0 && !net.zeros) x = builder.max_pool(x, stage.pool, 2, stage.pool == 3 ? 1 : 0);
    x = drop(builder, x, stage.dropout);
  }
  if (net.head > 0) {
    x = layer_function(builder, net.style.function, kaiming_conv(builder, "head", x, net.head, 1, 0));
    x = builder.global_avg_pool(x);
  }
  return builder.linear("fc", drop(builder, x, net.dropout_out), classes, {.logits = true});
}

ValueId fully_connected(GraphBuilder& builder, const HighwayStyle& style, int64_t layers, int64_t width,
                        ValueId images, int64_t classes) {
  ValueId x = layer_function(builder, style.function, kaiming_linear(builder, "fc1", images, width));
  for (int64_t i = 0; i + 1 < layers; ++i) {
    x = highway_linear(builder, fmt::format("{}.{}", style.plain ? "plain" : "highway", i), style, x);
  }
  return builder.linear("fc", x, classes, {.logits = true});
}

HighwayStyle styled(const std::string& name, HighwayStyle style, const ModelOptions& options) {
  check(options.function != LayerFunction::kConcatRelu, ErrorKind::kConfig,
        "model {}: option activation is crelu, allowed are relu, sigmoid and tanh", name);
  style.function = options.function;
  style.gate_bias = options.gate_bias.value_or(style.gate_bias);
  style.carry = options.carry;
  return style;
}

HighwayNet apply_options(HighwayNet net, const ModelOptions& options) {
  net.style = styled(net.name, net.style, options);
  if (options.dropout) {
    net.dropout_in = net.dropout_out = *options.dropout;
    for (HighwayStage& stage : net.stages) stage.dropout = stage.pool > 0 ? *options.dropout : 0;
  }
  if (options.shortcut) {
    check(*options.shortcut == ShortcutKind::kZeros || *options.shortcut == ShortcutKind::kProjection,
          ErrorKind::kConfig, "model {}: option shortcut is C, allowed are A (zero channels) and B (layers)",
          net.name);
    net.zeros = *options.shortcut == ShortcutKind::kZeros;
  }
  return net;
}

/// A CIFAR net: three stages, pooled by 2 between them.
HighwayNet cifar_net(std::string_view name, const std::array<HighwayStage, 3>& stages) {
  HighwayNet net;
  net.name = name;
  net.head = 100;
  net.dropout_in = net.dropout_out = 0.2;
  for (size_t s = 0; s < stages.size(); ++s) {
    const bool pooled = s + 1 < stages.size();
    net.stages.push_back({stages[s].width, stages[s].layers, 3, 1, pooled ? 2 : 0, pooled ? 0.2 : 0});
  }
  return net;
}

std::optional<HighwayNet> find_convolutional(std::string_view name) {
  if (name == "cifar_highway11") return cifar_net(name, {{{16, 2}, {32, 2}, {64, 2}}});
  if (name == "cifar_highway19") return cifar_net(name, {{{32, 4}, {80, 5}, {128, 5}}});
  if (name == "cifar_highway32") return cifar_net(name, {{{32, 9}, {48, 9}, {64, 9}}});
  if (name != "mnist_highway_conv10") return std::nullopt;
  // Pooling of 3 with stride 2 and padding 1 has the sizes of Caffe's, which rounds up.
  HighwayNet net;
  net.name = name;
  net.stages = {{32, 2, 5, 0, 3, 0.3}, {32, 3, 0, 0, 3, 0.4}, {32, 3, 0, 0, 2, 0.5}};
  net.dropout_in = 0.2;
  net.style.gate_bias = -1;
  return net;
}

std::optional<Model> find_fully_connected(std::string_view name) {
  HighwayStyle style{.gate_bias = -1};
  auto numbers = numbers_after(name, "mnist_highway", 2);
  if (!numbers) {
    numbers = numbers_after(name, "mnist_plain", 2);
    if (!numbers) return std::nullopt;
    style.plain = true;
  }
  const int64_t layers = numbers->at(0), width = numbers->at(1);
  check(layers >= 2 && layers <= 1000, ErrorKind::kConfig, "model {}: depth is {}, allowed is 2 to 1000",
        name, layers);
  check(width <= 4096, ErrorKind::kConfig, "model {}: width is {}, allowed is 1 to 4096", name, width);
  style.gate_bias = layers <= 10 ? -1 : layers <= 20 ? -2 : layers <= 30 ? -3 : -4;
  auto write = [=, text = std::string(name)](GraphBuilder& builder, const ModelOptions& options,
                                             ValueId images) {
    return fully_connected(builder, styled(text, style, options), layers, width, images, options.classes);
  };
  std::vector<std::string_view> options = {"activation"};
  if (!style.plain) options.insert(options.end(), {"gate_bias", "carry"});
  return Model{std::string(name), mnist_defaults(), std::move(options), std::move(write)};
}

}  // namespace

std::optional<Model> find_highway(std::string_view name) {
  const std::optional<HighwayNet> net = find_convolutional(name);
  if (!net) return find_fully_connected(name);
  const bool cifar = net->head > 0;
  std::vector<std::string_view> options = {"activation", "gate_bias", "carry", "dropout"};
  if (cifar) options.push_back("shortcut");
  auto write = [net = *net](GraphBuilder& builder, const ModelOptions& given, ValueId images) {
    return convolutional(builder, apply_options(net, given), images, given.classes);
  };
  return Model{std::string(name), cifar ? cifar_defaults() : mnist_defaults(), std::move(options),
               std::move(write)};
}

std::vector<std::string> highway_names() {
  return {"cifar_highway11",    "cifar_highway19",    "cifar_highway32",  "mnist_highway_conv10",
          "mnist_highway10_50", "mnist_highway50_50", "mnist_plain10_71", "mnist_plain50_71"};
}

}  // namespace residuum
