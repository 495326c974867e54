// What a forward graph is made of, as the laboratory sees it: the joins of residual blocks, the layers of
// plain nets, the gates of highway nets. Invariant: everything is found in the graph itself, by its nodes and
// blocks; nothing here knows a model.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/graph/graph.h"

namespace residuum {

/// Whether it is a weight layer: a convolution or a linear layer.
bool has_weights(const Op& op);

/// Where the branch and the shortcut of a block meet: the last addition of the block whose two operands both
/// depend on its input.
struct Join {
  int block = kNone;            ///< index into Graph::blocks
  NodeId node = kNone;          ///< the Add
  size_t branch = 0, skip = 1;  ///< which input of the node is which
  /// Weight layers on the longest way there.
  int64_t branch_layers = 0, skip_layers = 0;
};

/// The join of a block, or nothing when it has none. The skip is the operand that the block's input reaches
/// through fewer weight layers (the shortest way decides, then the longest); nothing when both are equal.
std::optional<Join> find_join(const Graph& graph, int block);

/// The joins of all blocks that have one, in their order.
std::vector<Join> find_joins(const Graph& graph);

/// The joins of all blocks; throws Error(kConfig) naming `model`, `analysis` and the first block without one,
/// or that the model has no blocks.
std::vector<Join> require_joins(const Graph& graph, const std::string& model, const std::string& analysis);

/// A weight layer together with the batch norm and activation that follow it.
struct Layer {
  std::string name;  ///< of its convolution or linear node
  NodeId weight_node = kNone;
  ValueId input = kNone;       ///< what the weights are applied to
  ValueId normalized = kNone;  ///< after bias and batch norm, before the activation
  ValueId output = kNone;      ///< after the activation, where one follows
};

/// Every layer with learned weights, in execution order.
std::vector<Layer> find_layers(const Graph& graph);

/// The gates of a block, by the names that models give them: sigmoids BLOCK.transform (T) and, where it is
/// not 1 - T, BLOCK.carry.
struct Gates {
  std::optional<ValueId> transform, carry;
};
/// Nothing unless y = H T + x C: the block ends in a sum of two products.
std::optional<Gates> find_gates(const Graph& graph, int block);

/// Index of the block of that name; throws Error(kConfig) naming the nearest ones.
int block_index(const Graph& graph, const std::string& name);

}  // namespace residuum
