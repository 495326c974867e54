// Residual building blocks: a block is a branch (a list of convolutions with BN and ReLU placed around them),
// a shortcut, and their join. Parameter names are torchvision's: conv1, bn1, ..., downsample.0, downsample.1.
#pragma once

#include <cstdint>
#include <string>

#include "engine/graph/builder.h"

namespace residuum {

enum class BlockKind : uint8_t {
  kBasic,       ///< 3x3, 3x3
  kBottleneck,  ///< 1x1, 3x3, 1x1 with four times the channels
};

/// Where BN and ReLU stand.
enum class Placement : uint8_t {
  kOriginal,       ///< conv-BN-ReLU-conv-BN-(+)-ReLU (He 2015)
  kPreActivation,  ///< BN-ReLU-conv-BN-ReLU-conv-(+) (He 2016, "full pre-activation")
};

/// How the input of a block reaches its output (He 2015, section 4.1, options A, B and C).
enum class ShortcutKind : uint8_t {
  kPlain,                 ///< a plain net
  kZeros,                 ///< A: identity; sub-sampled and padded with zero channels where the shape changes
  kProjection,            ///< B: identity; 1x1 convolution where the shape changes
  kProjectionEverywhere,  ///< C: 1x1 convolution in every block
};

/// What all blocks of a net have in common.
struct BlockStyle {
  BlockKind kind = BlockKind::kBasic;
  Placement placement = Placement::kOriginal;
  ShortcutKind shortcut = ShortcutKind::kProjection;
  ZeroChannels zeros = ZeroChannels::kBothSides;
  bool stride_on_first = false;  ///< of a bottleneck's convolutions (v1), else on the 3x3 (v1.5)
  int64_t groups = 1;            ///< of a bottleneck's 3x3 (ResNeXt)
  int64_t width_per_group = 64;  ///< a bottleneck has width * width_per_group / 64 channels in each group
  double last_gamma = 1;         ///< initial gamma of a branch's last BN (original placement)
};

/// Where one block stands in its net.
struct BlockPlace {
  int64_t width = 0;  ///< 64, 128, 256, 512; a basic block has that many output channels
  int64_t stride = 1;
  bool activated = false;  ///< the input has passed BN and ReLU already: the first block after the stem
};

/// Output channels: width, or 4 width for a bottleneck.
int64_t block_channels(BlockKind kind, int64_t width);

/// Adds block `name` ("layer1.0"). In a pre-activation block a shortcut that is not the identity starts from
/// the activated input, shared with the branch (He 2016, appendix; resnet-1k-layers).
ValueId residual_block(GraphBuilder& builder, const std::string& name, const BlockStyle& style,
                       const BlockPlace& place, ValueId src);

}  // namespace residuum
