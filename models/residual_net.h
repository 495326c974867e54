// Residual nets as data: a stem, stages of equal blocks, average pooling and a classifier. Every ResNet,
// plain, pre-activation and wide net of the zoo is one ResidualNet; the families only fill it in.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "models/model.h"
#include "models/residual_block.h"

namespace residuum {

enum class StemKind : uint8_t {
  kImageNet,  ///< 7x7 stride 2, BN, ReLU, 3x3 max pooling stride 2
  kCifar,     ///< 3x3, BN, ReLU
};

struct Stage {
  int64_t blocks = 0, width = 0;
  int64_t stride = 1;  ///< of its first block
};

struct ResidualNet {
  std::string name;
  StemKind stem = StemKind::kImageNet;
  int64_t stem_width = 0;  ///< 0: that of the first stage
  std::vector<Stage> stages;
  BlockStyle style;

  int64_t block_count() const;

  /// Image pixels per pixel of the last stage, along one side.
  int64_t total_stride() const;
};

/// `net` with the residual options applied; throws Error(kConfig) for one that the net cannot honour.
ResidualNet apply_options(ResidualNet net, const ModelOptions& options);

/// Writes the net from images N,H,W,C to logits N,classes. Parameters: conv1, bn1, layer{stage}.{block}.*,
/// fc, and for pre-activation nets bn_last, the BN after the last addition (their first block has no bn1 of
/// its own: the stem's serves it, He 2016, appendix). Throws Error(kConfig) for images smaller than the total
/// stride.
ValueId residual_net(GraphBuilder& builder, const ResidualNet& net, ValueId images, int64_t classes);

/// The four stages of an ImageNet net, by their numbers of blocks.
std::vector<Stage> imagenet_stages(const std::array<int64_t, 4>& blocks);

/// What apply_options knows, for Model::options.
std::vector<std::string_view> residual_options();

/// `net` with options and defaults as a member of the zoo.
Model residual_model(ResidualNet net, ModelDefaults defaults);

}  // namespace residuum
