#include "models/residual_block.h"

#include <vector>

namespace residuum {
namespace {

constexpr int64_t kBottleneckExpansion = 4;

struct BranchConv {
  int64_t out_channels = 0, kernel = 1, stride = 1, groups = 1;
};

std::vector<BranchConv> branch_convs(const BlockStyle& style, const BlockPlace& place) {
  const int64_t out_channels = block_channels(style.kind, place.width);
  if (style.kind == BlockKind::kBasic) {
    return {{out_channels, 3, place.stride}, {out_channels, 3}};
  }
  const int64_t inner = place.width * style.width_per_group / 64 * style.groups;
  const int64_t first = style.stride_on_first ? place.stride : 1;
  return {{inner, 1, first}, {inner, 3, place.stride / first, style.groups}, {out_channels, 1}};
}

ValueId numbered_conv(GraphBuilder& builder, size_t index, const BranchConv& conv, ValueId src) {
  return builder.conv("conv" + std::to_string(index + 1), src, conv.out_channels, conv.kernel,
                      {.stride = conv.stride, .pad = conv.kernel / 2, .groups = conv.groups});
}

ValueId numbered_norm(GraphBuilder& builder, size_t index, ValueId src, double gamma = 1) {
  return builder.batch_norm("bn" + std::to_string(index + 1), src, gamma);
}

bool shape_changes(const GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place,
                   ValueId src) {
  return place.stride != 1 || builder.shape(src)[3] != block_channels(style.kind, place.width);
}

bool is_identity(const GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place, ValueId src) {
  return style.shortcut != ShortcutKind::kProjectionEverywhere && !shape_changes(builder, style, place, src);
}

ValueId changed_shortcut(GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place,
                         ValueId src) {
  const int64_t out_channels = block_channels(style.kind, place.width);
  if (style.shortcut == ShortcutKind::kZeros) {
    return builder.shortcut_a(src, place.stride, out_channels, style.zeros);
  }
  const ValueId projected = builder.conv("downsample.0", src, out_channels, 1, {.stride = place.stride});
  return style.placement == Placement::kOriginal ? builder.batch_norm("downsample.1", projected) : projected;
}

/// `activated` is what a shortcut other than the identity starts from.
ValueId join(GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place, ValueId src,
             ValueId activated, ValueId branch) {
  if (style.shortcut == ShortcutKind::kPlain) return branch;
  const ValueId shortcut =
      is_identity(builder, style, place, src) ? src : changed_shortcut(builder, style, place, activated);
  return builder.add(branch, shortcut);
}

ValueId original(GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place, ValueId src) {
  const std::vector<BranchConv> convs = branch_convs(style, place);
  ValueId x = src;
  for (size_t i = 0; i + 1 < convs.size(); ++i) {
    x = builder.relu(numbered_norm(builder, i, numbered_conv(builder, i, convs[i], x)));
  }
  x = numbered_conv(builder, convs.size() - 1, convs.back(), x);
  x = numbered_norm(builder, convs.size() - 1, x, style.last_gamma);
  return builder.relu(join(builder, style, place, src, src, x));
}

ValueId pre_activation(GraphBuilder& builder, const BlockStyle& style, const BlockPlace& place, ValueId src) {
  const std::vector<BranchConv> convs = branch_convs(style, place);
  const ValueId activated = place.activated ? src : builder.relu(numbered_norm(builder, 0, src));
  ValueId x = numbered_conv(builder, 0, convs[0], activated);
  for (size_t i = 1; i < convs.size(); ++i) {
    x = numbered_conv(builder, i, convs[i], builder.relu(numbered_norm(builder, i, x)));
  }
  return join(builder, style, place, src, activated, x);
}

}  // namespace

int64_t block_channels(BlockKind kind, int64_t width) {
  return kind == BlockKind::kBasic ? width : kBottleneckExpansion * width;
}

ValueId residual_block(GraphBuilder& builder, const std::string& name, const BlockStyle& style,
                       const BlockPlace& place, ValueId src) {
  builder.begin_block(name, src);
  const std::string outer_scope = builder.set_scope(name + ".");
  const ValueId dst = style.placement == Placement::kOriginal ? original(builder, style, place, src)
                                                              : pre_activation(builder, style, place, src);
  builder.set_scope(outer_scope);
  builder.end_block(dst);
  return dst;
}

}  // namespace residuum
