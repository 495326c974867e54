// The activation of a layer, by choice.
#pragma once

#include "engine/graph/builder.h"
#include "engine/train/model_choice.h"

namespace residuum {

/// The function of src; kConcatRelu has twice its channels.
ValueId layer_function(GraphBuilder& builder, LayerFunction function, ValueId src);

/// Filters of a convolution whose result passes `function` and then has `channels`: half of them for
/// kConcatRelu. Throws Error(kConfig) for an odd number of channels then.
int64_t filters_before(LayerFunction function, int64_t channels);

}  // namespace residuum
