// Reverse-mode differentiation as a pass: appends the backward nodes of a graph's loss.
#pragma once

#include <vector>

#include "engine/graph/graph.h"

namespace residuum {

/// Appends to `forward` the nodes that compute the gradient of its output "loss" with respect to every
/// parameter and to the values of `wanted`, all multiplied by `loss_scale`; Graph::gradients maps each to its
/// gradient. A parameter the loss does not depend on is absent there. Backward nodes come in reverse forward
/// order and carry the name and block of the node they belong to. Throws Error(kInternal) when the graph has
/// no loss.
Graph differentiate(Graph forward, const std::vector<ValueId>& wanted = {}, float loss_scale = 1);

}  // namespace residuum
