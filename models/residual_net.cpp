#include "models/residual_net.h"

#include <algorithm>
#include <utility>

#include "engine/core/check.h"
#include "models/layer_function.h"

namespace residuum {
namespace {

ValueId stem(GraphBuilder& builder, const ResidualNet& net, ValueId images) {
  const bool imagenet = net.stem == StemKind::kImageNet;
  const int64_t kernel = imagenet ? 7 : 3;
  const int64_t width = net.stem_width > 0 ? net.stem_width : net.stages.front().width;
  ValueId x = builder.conv("conv1", images, filters_before(net.style.function, width), kernel,
                           {.stride = imagenet ? 2 : 1, .pad = kernel / 2});
  x = layer_function(builder, net.style.function, block_norm(builder, net.style, "bn1", "conv1", x));
  return imagenet ? builder.max_pool(x, 3, 2, 1) : x;
}

/// Throws for an option that only nets with shortcuts have.
void require_shortcuts(const ResidualNet& net, const ModelOptions& options) {
  if (net.style.shortcut != ShortcutKind::kPlain) return;
  const ModelOptions unset;
  const std::pair<const char*, bool> given[] = {
      {"shortcut", options.shortcut.has_value()},
      {"placement", options.placement.has_value()},
      {"gate", options.gate != unset.gate},
      {"shortcut_scale", options.shortcut_scale != unset.shortcut_scale},
      {"branch_scale", options.branch_scale != unset.branch_scale},
      {"shortcut_dropout", options.shortcut_dropout != unset.shortcut_dropout},
      {"survival", options.survival != unset.survival},
      {"sampled_blocks", options.sampled_blocks != unset.sampled_blocks},
  };
  for (const auto& [name, is_given] : given) {
    check(!is_given, ErrorKind::kConfig, "model {} has no shortcuts: option {} must be left out", net.name,
          name);
  }
}

JoinStyle join_style(const ResidualNet& net, const ModelOptions& options) {
  check(options.gate != ShortcutGate::kOff || !options.gate_bias, ErrorKind::kConfig,
        "model {}: option gate_bias is given, allowed is that with option gate only", net.name);
  check(options.survival == 1 || options.sampled_blocks == 0, ErrorKind::kConfig,
        "model {}: option survival is {} and option sampled_blocks is {}, allowed is one of them", net.name,
        options.survival, options.sampled_blocks);
  check(options.sampled_blocks >= 0 && options.sampled_blocks <= net.block_count(), ErrorKind::kConfig,
        "model {}: option sampled_blocks is {}, allowed is 0 to {}, its number of blocks", net.name,
        options.sampled_blocks, net.block_count());
  JoinStyle join{.gate = options.gate,
                 .shortcut_scale = options.shortcut_scale,
                 .branch_scale = options.branch_scale,
                 .shortcut_dropout = options.shortcut_dropout,
                 .survival = options.survival,
                 .sampled_blocks = options.sampled_blocks};
  join.gate_bias = options.gate_bias.value_or(join.gate_bias);
  return join;
}

/// Whether gamma 0 at the end of a branch makes a block the identity and still lets it learn: a
/// pre-activation branch or a plain block that gives zero to what follows never does, nor does a ReLU of
/// zeros.
bool may_start_at_zero(const BlockStyle& style) {
  return style.shortcut != ShortcutKind::kPlain && style.batch_norm &&
         (style.placement == Placement::kOriginal || style.placement == Placement::kReluOnlyPreActivation);
}

}  // namespace

int64_t ResidualNet::block_count() const {
  int64_t count = 0;
  for (const Stage& stage : stages) count += stage.blocks;
  return count;
}

int64_t ResidualNet::total_stride() const {
  int64_t stride = stem == StemKind::kImageNet ? 4 : 1;
  for (const Stage& stage : stages) stride *= stage.stride;
  return stride;
}

ResidualNet apply_options(ResidualNet net, const ModelOptions& options) {
  BlockStyle& style = net.style;
  const bool bottleneck = style.kind == BlockKind::kBottleneck;
  check(options.block.value_or(style.kind) == style.kind, ErrorKind::kConfig,
        "model {}: option block is {}, allowed is {}", net.name, bottleneck ? "basic" : "bottleneck",
        bottleneck ? "bottleneck" : "basic");
  require_shortcuts(net, options);
  if (options.shortcut) {
    check(*options.shortcut != ShortcutKind::kPlain, ErrorKind::kConfig,
          "model {}: option shortcut is plain, allowed are A, B and C", net.name);
    style.shortcut = *options.shortcut;
  }
  style.placement = options.placement.value_or(style.placement);
  check(options.zeros == ZeroChannels::kBothSides || style.shortcut == ShortcutKind::kZeros,
        ErrorKind::kConfig, "model {}: option zeros is allowed with shortcut A only", net.name);
  style.zeros = options.zeros;
  check(!options.v1 || bottleneck, ErrorKind::kConfig,
        "model {}: option v1 is allowed for bottleneck blocks only, and its blocks are basic", net.name);
  style.stride_on_first = options.v1;
  style.join = join_style(net, options);
  style.dropout = options.dropout.value_or(style.dropout);
  style.function = options.function;
  style.batch_norm = options.batch_norm;
  const bool original = style.placement == Placement::kOriginal;
  check(original || style.function != LayerFunction::kConcatRelu, ErrorKind::kConfig,
        "model {}: option activation is crelu, allowed is that with the original placement of BN only",
        net.name);
  check(original || style.batch_norm, ErrorKind::kConfig,
        "model {}: option batch_norm is false, allowed is that with the original placement of BN only",
        net.name);
  check(!options.zero_init_gamma || may_start_at_zero(style), ErrorKind::kConfig,
        "model {}: option zero_init_gamma is allowed for residual nets with the original placement of BN, or "
        "with ReLU-only pre-activation, only",
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
  int64_t index = 0;
  for (size_t s = 0; s < net.stages.size(); ++s) {
    const Stage& stage = net.stages[s];
    for (int64_t b = 0; b < stage.blocks; ++b) {
      const BlockPlace place{stage.width, b == 0 ? stage.stride : 1, s == 0 && b == 0, index++,
                             net.block_count()};
      x = residual_block(builder, fmt::format("layer{}.{}", s + 1, b), net.style, place, x);
    }
  }
  if (net.style.placement == Placement::kPreActivation) x = builder.batch_norm("bn_last", x);
  if (net.style.placement == Placement::kPreActivation ||
      net.style.placement == Placement::kReluOnlyPreActivation) {
    x = layer_function(builder, net.style.function, x);
  }
  return builder.linear("fc", builder.global_avg_pool(x), classes, {.logits = true});
}

std::vector<Stage> imagenet_stages(const std::array<int64_t, 4>& blocks) {
  return {{blocks[0], 64, 1}, {blocks[1], 128, 2}, {blocks[2], 256, 2}, {blocks[3], 512, 2}};
}

std::vector<std::string_view> residual_options() {
  return {"zero_init_gamma",  "v1",       "block",          "shortcut",       "zeros",
          "placement",        "gate",     "gate_bias",      "shortcut_scale", "branch_scale",
          "shortcut_dropout", "survival", "sampled_blocks", "dropout",        "activation",
          "batch_norm"};
}

Model residual_model(ResidualNet net, ModelDefaults defaults) {
  std::string name = net.name;
  auto write = [net = std::move(net)](GraphBuilder& builder, const ModelOptions& options, ValueId images) {
    return residual_net(builder, apply_options(net, options), images, options.classes);
  };
  return {std::move(name), std::move(defaults), residual_options(), std::move(write)};
}

}  // namespace residuum
