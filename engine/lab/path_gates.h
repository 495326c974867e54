// Gates on the gradients of a net's branches and shortcuts. Invariant: the forward pass is that of the whole
// net.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/lab/structure.h"

namespace residuum {

/// The graph of one backward pass along chosen paths (Veit 2016): the gradient that enters block b goes into
/// its branch times the input "branch_gate.B" and into its shortcut times "skip_gate.B" (B the block's name),
/// per-channel factors f32 C, each 0 or 1. Every gate 1 is the ordinary gradient, bit for bit. The inputs
/// "unit.C" must hold ones. Outputs: "loss", and for each NAME -> value of `wanted` "d.NAME", its gradient
/// times `loss_scale`.
Graph path_gradient_graph(Graph forward, const std::vector<Join>& joins,
                          const std::map<std::string, ValueId>& wanted, float loss_scale);

}  // namespace residuum
