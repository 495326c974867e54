#include "models/residual_block.h"

#include <vector>

#include "models/layer_function.h"

namespace residuum {
namespace {

constexpr int64_t kBottleneckExpansion = 4;

/// Output channels of a block.
int64_t block_channels(BlockKind kind, int64_t width) {
  return kind == BlockKind::kBasic ? width : kBottleneckExpansion * width;
}

struct BranchConv {
  int64_t out_channels = 0, kernel = 1, stride = 1, groups = 1;
};

/// The convolutions of a branch. Before CReLU half of the filters are enough.
std::vector<BranchConv> branch_convs(const BlockStyle& style, const BlockPlace& place) {
  const int64_t out_channels = block_channels(style.kind, place.width);
  const int64_t last =
      style.shortcut == ShortcutKind::kPlain ? filters_before(style.function, out_channels) : out_channels;
  if (style.kind == BlockKind::kBasic) {
    return {{filters_before(style.function, out_channels), 3, place.stride}, {last, 3}};
  }
  const int64_t inner = place.width * style.width_per_group / 64 * style.groups;
  const int64_t filters = filters_before(style.function, inner);
  const int64_t first = style.stride_on_first ? place.stride : 1;
  return {{filters, 1, first}, {filters, 3, place.stride / first, style.groups}, {last, 1}};
}

ValueId numbered_conv(GraphBuilder& builder, size_t index, const BranchConv& conv, ValueId src) {
  return builder.conv("conv" + std::to_string(index + 1), src, conv.out_channels, conv.kernel,
                      {.stride = conv.stride, .pad = conv.kernel / 2, .groups = conv.groups});
}

ValueId numbered_norm(GraphBuilder& builder, const BlockStyle& style, size_t index, ValueId src,
                      double gamma = 1) {
  const std::string number = std::to_string(index + 1);
  return block_norm(builder, style, "bn" + number, "conv" + number, src, gamma);
}

bool shape_changes(const GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place,
                   ValueId src) {
  return place.stride != 1 || builder.shape(src)[3] != block_channels(style.kind, place.width);
}

bool is_identity(const GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place, ValueId src) {
  return style.shortcut != ShortcutKind::kProjectionEverywhere && !shape_changes(builder, style, place, src);
}

/// Whether a BN stands between a branch's last convolution and the addition, and so after a projection too.
bool branch_ends_in_norm(Placement placement) {
  return placement != Placement::kPreActivation && placement != Placement::kNormAfterAddition;
}

ValueId changed_shortcut(GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place,
                         ValueId src) {
  const int64_t out_channels = block_channels(style.kind, place.width);
  if (style.shortcut == ShortcutKind::kZeros) {
    return builder.shortcut_a(src, place.stride, out_channels, style.zeros);
  }
  const ValueId projected = builder.conv("downsample.0", src, out_channels, 1, {.stride = place.stride});
  return branch_ends_in_norm(style.placement)
             ? block_norm(builder, style, "downsample.1", "downsample.0", projected)
             : projected;
}

/// When the block takes part in a step.
BlockDraw block_draw(const JoinStyle& join, const BlockPlace& place) {
  BlockDraw draw{static_cast<uint32_t>(place.index), static_cast<uint32_t>(place.count)};
  if (join.sampled_blocks > 0) {
    draw.open = static_cast<uint32_t>(join.sampled_blocks);
  } else {
    const double depth = static_cast<double>(place.index + 1) / static_cast<double>(place.count);
    draw.probability = static_cast<float>(1 - depth * (1 - join.survival));
  }
  return draw;
}

ValueId scaled(GraphBuilder& builder, ValueId src, double factor) {
  return factor == 1 ? src : builder.scale(src, static_cast<float>(factor));
}

/// `activated` is what a shortcut other than the identity starts from.
ValueId join(GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place, ValueId src,
             ValueId activated, ValueId branch) {
  if (style.shortcut == ShortcutKind::kPlain) return branch;
  const JoinStyle& join = style.join;
  ValueId shortcut =
      is_identity(builder, style, place, src) ? src : changed_shortcut(builder, style, place, activated);
  branch = builder.block_gate(branch, block_draw(join, place));
  if (join.gate != ShortcutGate::kOff) {
    const ValueId score = builder.conv("gate", src, block_channels(style.kind, place.width), 1,
                                       {.stride = place.stride, .bias = true, .bias_init = join.gate_bias});
    const ValueId gate = builder.activation(ActivationKind::kSigmoid, score, "transform");
    shortcut = builder.multiply(shortcut, builder.scale(gate, -1, 1, "carry"));
    if (join.gate == ShortcutGate::kExclusive) branch = builder.multiply(branch, gate);
  }
  shortcut = builder.dropout(scaled(builder, shortcut, join.shortcut_scale),
                             static_cast<float>(join.shortcut_dropout));
  return builder.add(scaled(builder, branch, join.branch_scale), shortcut);
}

/// The activation after an addition, which must keep the channels; a plain block has none to add.
ValueId after_addition(GraphBuilder& builder, const BlockStyle& style, ValueId src) {
  const bool plain = style.shortcut == ShortcutKind::kPlain;
  const bool doubles = style.function == LayerFunction::kConcatRelu && !plain;
  return layer_function(builder, doubles ? LayerFunction::kRelu : style.function, src);
}

/// The placements whose branch begins with a convolution.
ValueId conv_first(GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place, ValueId src) {
  const std::vector<BranchConv> convs = branch_convs(style, place);
  const size_t last = convs.size() - 1;
  ValueId x = src;
  for (size_t i = 0; i < last; ++i) {
    x = numbered_norm(builder, style, i, numbered_conv(builder, i, convs[i], x));
    x = layer_function(builder, style.function, x);
  }
  x = builder.dropout(x, static_cast<float>(style.dropout));
  x = numbered_conv(builder, last, convs.back(), x);
  if (style.placement == Placement::kNormAfterAddition) {
    x = numbered_norm(builder, style, last, join(builder, style, place, src, src, x));
    return after_addition(builder, style, x);
  }
  x = numbered_norm(builder, style, last, x, style.last_gamma);
  if (style.placement == Placement::kReluBeforeAddition) {
    return join(builder, style, place, src, src, layer_function(builder, style.function, x));
  }
  return after_addition(builder, style, join(builder, style, place, src, src, x));
}

ValueId pre_activation(GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place, ValueId src) {
  const std::vector<BranchConv> convs = branch_convs(style, place);
  const bool norm_first = style.placement == Placement::kPreActivation;
  const auto activate = [&](ValueId x) { return layer_function(builder, style.function, x); };
  ValueId activated = src;
  if (!place.activated) activated = activate(norm_first ? numbered_norm(builder, style, 0, src) : src);
  ValueId x = numbered_conv(builder, 0, convs[0], activated);
  for (size_t i = 1; i < convs.size(); ++i) {
    x = activate(numbered_norm(builder, style, norm_first ? i : i - 1, x));
    if (i + 1 == convs.size()) x = builder.dropout(x, static_cast<float>(style.dropout));
    x = numbered_conv(builder, i, convs[i], x);
  }
  if (!norm_first) x = numbered_norm(builder, style, convs.size() - 1, x, style.last_gamma);
  return join(builder, style, place, src, activated, x);
}

}  // namespace

ValueId block_norm(GraphBuilder& builder, const BlockStyle& style, const std::string& name,
                   const std::string& conv, ValueId src, double gamma) {
  return style.batch_norm ? builder.batch_norm(name, src, gamma) : builder.bias(conv, src);
}

ValueId residual_block(GraphBuilder& builder, const std::string& name, const BlockStyle& style,
                       const BlockPlace& place, ValueId src) {
  builder.begin_block(name, src);
  const std::string outer_scope = builder.set_scope(name + ".");
  const bool activation_first =
      style.placement == Placement::kPreActivation || style.placement == Placement::kReluOnlyPreActivation;
  const ValueId dst =
      activation_first ? pre_activation(builder, style, place, src) : conv_first(builder, style, place, src);
  builder.set_scope(outer_scope);
  builder.end_block(dst);
  return dst;
}

}  // namespace residuum
