// How much the shortcuts alone carry through a net (He 2016, equation 10): with h(x) = lambda x the identity
// path multiplies signal and gradient by the product of all lambda.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/lab/responses.h"
#include "engine/lab/structure.h"

namespace residuum {

struct ShortcutScale {
  std::string block;
  /// The constant factor on the way from the block's input to the join; nothing when something else is on it:
  /// a projection, a gate, dropout.
  std::optional<double> lambda;
  double forward = 0;   ///< |output| / |input| of the block in a net of its shortcuts alone
  double backward = 0;  ///< |gradient of input| / |gradient of output| through the shortcuts alone
};

struct ShortcutScales {
  std::vector<ShortcutScale> blocks;  ///< in their order
  /// Of all blocks: predicted where every lambda is known, measured from the first input to the last output.
  std::optional<double> product;
  double forward = 0, backward = 0;
};

/// Throws Error(kConfig) naming a model that has a block without a shortcut.
ShortcutScales shortcut_scales(const Subject& subject, const SampleOptions& options);

}  // namespace residuum
