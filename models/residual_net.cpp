#include "models/residual_net.h"

#include <algorithm>

#include "engine/core/check.h"

namespace residuum {
namespace {

ValueId stem(GraphBuilder& builder, const ResidualNet& net, ValueId images) {
  const bool imagenet = net.stem == StemKind::kImageNet;
  const int64_t kernel = imagenet ? 7 : 3;
  ValueId x = builder.conv("conv1", images, net.stages.front().width, kernel,
                           {.stride = imagenet ? 2 : 1, .pad = kernel / 2});
  x = builder.relu(builder.batch_norm("bn1", x));
  return imagenet ? builder.max_pool(x, 3, 2, 1) : x;
}

}  // namespace

int64_t ResidualNet::total_stride() const {
  int64_t stride = stem == StemKind::kImageNet ? 4 : 1;
  for (const Stage& stage : stages) stride *= stage.stride;
  return stride;
}

ResidualNet apply_options(ResidualNet net, const ModelOptions& options) {
  BlockStyle& style = net.style;
  const bool plain = style.shortcut == ShortcutKind::kPlain;
  const bool bottleneck = style.kind == BlockKind::kBottleneck;
  check(options.block.value_or(style.kind) == style.kind, ErrorKind::kConfig,
        "model {}: option block is {}, allowed is {}", net.name, bottleneck ? "basic" : "bottleneck",
        bottleneck ? "bottleneck" : "basic");
  if (options.shortcut) {
    check(!plain, ErrorKind::kConfig, "model {} has no shortcuts: option shortcut must be left out",
          net.name);
    check(*options.shortcut != ShortcutKind::kPlain, ErrorKind::kConfig,
          "model {}: option shortcut is plain, allowed are A, B and C", net.name);
    style.shortcut = *options.shortcut;
  }
  check(options.zeros == ZeroChannels::kBothSides || style.shortcut == ShortcutKind::kZeros,
        ErrorKind::kConfig, "model {}: option zeros is allowed with shortcut A only", net.name);
  style.zeros = options.zeros;
  check(!options.v1 || bottleneck, ErrorKind::kConfig,
        "model {}: option v1 is allowed for bottleneck blocks only, and its blocks are basic", net.name);
  style.stride_on_first = options.v1;
  // With gamma 0 a pre-activation branch or a plain block gives zero to what follows and never learns.
  check(
      !options.zero_init_gamma || (style.placement == Placement::kOriginal && !plain), ErrorKind::kConfig,
      "model {}: option zero_init_gamma is allowed for residual nets with the original placement of BN only",
      net.name);
  style.last_gamma = options.zero_init_gamma ? 0 : 1;
  return net;
}

ValueId residual_net(GraphBuilder& builder, const ResidualNet& net, ValueId images, int64_t classes) {
  const Nhwc image = Nhwc::of(builder.shape(images));
  const int64_t smallest = net.total_stride();
  check(std::min(image.h, image.w) >= smallest, ErrorKind::kConfig,
        "model {} needs images of at least {}x{}, its total stride, found {}x{}", net.name, smallest,
        smallest, image.h, image.w);
  ValueId x = stem(builder, net, images);
  for (size_t s = 0; s < net.stages.size(); ++s) {
    const Stage& stage = net.stages[s];
    for (int64_t b = 0; b < stage.blocks; ++b) {
      const BlockPlace place{stage.width, b == 0 ? stage.stride : 1, s == 0 && b == 0};
      x = residual_block(builder, fmt::format("layer{}.{}", s + 1, b), net.style, place, x);
    }
  }
  if (net.style.placement == Placement::kPreActivation) x = builder.relu(builder.batch_norm("bn_last", x));
  return builder.linear("fc", builder.global_avg_pool(x), classes, {.logits = true});
}

std::vector<Stage> imagenet_stages(const std::array<int64_t, 4>& blocks) {
  return {{blocks[0], 64, 1}, {blocks[1], 128, 2}, {blocks[2], 256, 2}, {blocks[3], 512, 2}};
}

Model residual_model(ResidualNet net, ModelDefaults defaults) {
  std::string name = net.name;
  auto write = [net = std::move(net)](GraphBuilder& builder, const ModelOptions& options, ValueId images) {
    return residual_net(builder, apply_options(net, options), images, options.classes);
  };
  return {std::move(name), std::move(defaults), std::move(write)};
}

}  // namespace residuum
