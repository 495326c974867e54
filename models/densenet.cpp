// Densely connected nets for CIFAR (Huang 2017): every layer reads the results of all layers before it in its
// stage and adds `growth` channels. cifar_densenetN_K has depth N = 3n+4 and growth K; cifar_densenet_bcN_K,
// N = 6n+4, puts a 1x1 convolution to 4K channels before each 3x3 and halves channels between stages.
#include "engine/core/check.h"
#include "models/layer_function.h"
#include "models/model.h"
#include "models/model_name.h"

namespace residuum {
namespace {

constexpr int64_t kStages = 3, kBottleneckFactor = 4;

struct DenseNet {
  std::string name;
  int64_t layers = 0;  ///< of a stage
  int64_t growth = 0;
  bool bottleneck = false;
  double compression = 1;  ///< channels kept by a transition
  double dropout = 0;      ///< after each 3x3
  LayerFunction function = LayerFunction::kRelu;
};

ValueId activated(GraphBuilder& builder, const DenseNet& net, const char* norm, ValueId src) {
  return layer_function(builder, net.function, builder.batch_norm(norm, src));
}

/// The block `name`: [src, new channels].
ValueId dense_layer(GraphBuilder& builder, const DenseNet& net, const std::string& name, ValueId src) {
  builder.begin_block(name, src);
  const std::string outer_scope = builder.set_scope(name + ".");
  ValueId x = activated(builder, net, "bn1", src);
  if (net.bottleneck) {
    x = activated(builder, net, "bn2", builder.conv("conv1", x, kBottleneckFactor * net.growth, 1, {}));
  }
  x = builder.conv(net.bottleneck ? "conv2" : "conv1", x, net.growth, 3, {.pad = 1});
  const ValueId dst = builder.concat({src, builder.dropout(x, static_cast<float>(net.dropout))});
  builder.set_scope(outer_scope);
  builder.end_block(dst);
  return dst;
}

ValueId transition(GraphBuilder& builder, const DenseNet& net, const std::string& name, ValueId src) {
  const std::string outer_scope = builder.set_scope(name + ".");
  const auto channels = static_cast<int64_t>(net.compression * static_cast<double>(builder.shape(src)[3]));
  check(channels >= 1, ErrorKind::kConfig, "model {}: option compression is {} and leaves no channel",
        net.name, net.compression);
  ValueId x = builder.conv("conv", activated(builder, net, "bn", src), channels, 1, {});
  x = builder.avg_pool(builder.dropout(x, static_cast<float>(net.dropout)), 2, 2, 0);
  builder.set_scope(outer_scope);
  return x;
}

ValueId dense_net(GraphBuilder& builder, const DenseNet& net, ValueId images, int64_t classes) {
  ValueId x = builder.conv("conv1", images, net.bottleneck ? 2 * net.growth : 16, 3, {.pad = 1});
  for (int64_t s = 1; s <= kStages; ++s) {
    for (int64_t i = 0; i < net.layers; ++i) {
      x = dense_layer(builder, net, fmt::format("dense{}.{}", s, i), x);
    }
    if (s < kStages) x = transition(builder, net, fmt::format("transition{}", s), x);
  }
  x = builder.global_avg_pool(activated(builder, net, "bn_last", x));
  return builder.linear("fc", x, classes, {.logits = true});
}

DenseNet apply_options(DenseNet net, const ModelOptions& options) {
  check(options.function != LayerFunction::kConcatRelu, ErrorKind::kConfig,
        "model {}: option activation is crelu, allowed are relu, sigmoid and tanh", net.name);
  net.function = options.function;
  if (options.compression > 0) net.compression = options.compression;
  net.dropout = options.dropout.value_or(net.dropout);
  return net;
}

}  // namespace

std::optional<Model> find_densenet(std::string_view name) {
  DenseNet net{.name = std::string(name)};
  auto numbers = numbers_after(name, "cifar_densenet", 2);
  if (!numbers) {
    numbers = numbers_after(name, "cifar_densenet_bc", 2);
    if (!numbers) return std::nullopt;
    net.bottleneck = true;
    net.compression = 0.5;
  }
  const int64_t depth = numbers->at(0), divisor = net.bottleneck ? 2 * kStages : kStages;
  check(depth > 4 && depth <= 1000 && (depth - 4) % divisor == 0, ErrorKind::kConfig,
        "model {}: depth is {}, allowed are {}n+4 up to 1000", name, depth, divisor);
  net.layers = (depth - 4) / divisor;
  net.growth = numbers->at(1);
  check(net.growth <= 256, ErrorKind::kConfig, "model {}: growth is {}, allowed is 1 to 256", name,
        net.growth);
  auto write = [net](GraphBuilder& builder, const ModelOptions& options, ValueId images) {
    return dense_net(builder, apply_options(net, options), images, options.classes);
  };
  return Model{
      std::string(name), cifar_defaults(), {"dropout", "activation", "compression"}, std::move(write)};
}

std::vector<std::string> densenet_names() {
  return {"cifar_densenet40_12", "cifar_densenet_bc100_12", "cifar_densenet_bc190_40"};
}

}  // namespace residuum
