// Residual building blocks: a block is a branch (a list of convolutions with BN and activations placed around
// them), a shortcut, and their join. Parameter names are torchvision's: conv1, bn1, ..., downsample.0,
// downsample.1; a gate on the shortcut adds gate.weight and gate.bias. Its nodes are called BLOCK.transform
// (g) and BLOCK.carry (1 - g), like those of highway layers (highway_block.h).
#pragma once

#include <cstdint>
#include <string>

#include "engine/graph/builder.h"
#include "engine/train/model_choice.h"

namespace residuum {

enum class BlockKind : uint8_t {
  kBasic,       ///< 3x3, 3x3
  kBottleneck,  ///< 1x1, 3x3, 1x1 with four times the channels
};

/// How the input of a block reaches its output (He 2015, section 4.1, options A, B and C).
enum class ShortcutKind : uint8_t {
  kPlain,                 ///< a plain net
  kZeros,                 ///< A: identity; sub-sampled and padded with zero channels where the shape changes
  kProjection,            ///< B: identity; 1x1 convolution where the shape changes
  kProjectionEverywhere,  ///< C: 1x1 convolution in every block
};

/// What is done to shortcut and branch before they are added (He 2016, table 1).
struct JoinStyle {
  ShortcutGate gate = ShortcutGate::kOff;
  double gate_bias = -6;                        ///< at the start; the best of He 2016
  double shortcut_scale = 1, branch_scale = 1;  ///< constant factors
  double shortcut_dropout = 0;                  ///< probability; what is kept is scaled up, as in torch
  /// Stochastic depth (Huang 2016): of L blocks, block l = 1 .. L is open in a step with probability
  /// 1 - l / L (1 - survival), and an evaluation scales its branch by that. A closed block is not skipped but
  /// adds zeros: its batch statistics are still taken.
  double survival = 1;
  int64_t sampled_blocks = 0;  ///< instead, exactly so many blocks are open in a step (Veit 2016); 0: all
};

/// What all blocks of a net have in common.
struct BlockStyle {
  BlockKind kind = BlockKind::kBasic;
  Placement placement = Placement::kOriginal;
  ShortcutKind shortcut = ShortcutKind::kProjection;
  ZeroChannels zeros = ZeroChannels::kBothSides;
  JoinStyle join;
  LayerFunction function = LayerFunction::kRelu;  ///< after an addition kConcatRelu is ReLU
  bool batch_norm = true;                         ///< else a bias in its place, original placement only
  bool stride_on_first = false;  ///< of a bottleneck's convolutions (v1), else on the 3x3 (v1.5)
  int64_t groups = 1;            ///< of a bottleneck's 3x3 (ResNeXt)
  int64_t width_per_group = 64;  ///< a bottleneck has width * width_per_group / 64 channels in each group
  double last_gamma = 1;         ///< initial gamma of the BN that ends a branch
  double dropout = 0;            ///< before a branch's last convolution (Zagoruyko 2016)
};

/// Where one block stands in its net.
struct BlockPlace {
  int64_t width = 0;  ///< 64, 128, 256, 512; a basic block has that many output channels
  int64_t stride = 1;
  bool activated = false;        ///< the input has passed BN and ReLU already: the first block after the stem
  int64_t index = 0, count = 1;  ///< among the net's blocks
};

/// Adds block `name` ("layer1.0"). In a pre-activation block a shortcut that is not the identity starts from
/// the activated input, shared with the branch (He 2016, appendix; resnet-1k-layers).
ValueId residual_block(GraphBuilder& builder, const std::string& name, const BlockStyle& style,
                       const BlockPlace& place, ValueId src);

/// BN `name` or, in a net without, the bias of the convolution before it, whose name is `conv`.
ValueId block_norm(GraphBuilder& builder, const BlockStyle& style, const std::string& name,
                   const std::string& conv, ValueId src, double gamma = 1);

}  // namespace residuum
