// Which consecutive nodes one kernel computes. A value disappears inside a fused sequence only when nobody
// outside reads it, because on a GPU a value without a place in memory exists in registers alone. Cutting a
// graph into launches (cuda_groups) and turning a launch into kernels (make_steps) ask the same matcher.
#pragma once

#include <cstddef>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cuda/fusion/matching.h"

namespace residuum::cuda {

enum class FusedKind : uint8_t {
  kNode,    ///< one node as it is
  kWindow,  ///< crop_flip -> normalize
  kApply,   ///< batch_norm_apply [-> add] [-> relu or relu_mask], or -> relu -> max_pool
  kReduce,  ///< [max_pool_backward, global_avg_pool_backward or add ->] [the backward of relu or relu_mask
            ///< ->] batch_norm_backward_reduce
  kBackwardApply,  ///< batch_norm_backward_apply -> add
  kLoss,           ///< softmax_cross_entropy and its backward
  kUpdate,         ///< sgd_update and batch_norm_commit
  kConv,           ///< what conv_parts finds: convolutions or a linear layer with the nodes around them
};

/// The nodes [first, first + length).
struct Fused {
  FusedKind kind = FusedKind::kNode;
  NodeId first = kNone;
  size_t length = 1;

  NodeId end() const { return first + static_cast<NodeId>(length); }
};

/// The kinds of sequences, by the names with which they are switched off.
std::vector<FusionKind> fusion_kinds();

/// The longest sequence of at most `limit` nodes from `first` on that one kernel computes.
Fused fused_at(const Matching& matching, NodeId first, size_t limit);

/// The launches of a graph, without the kinds named in `off`.
std::vector<Group> cuda_groups(const Graph& graph, const std::set<std::string>& off);

/// The node of a fused sequence whose operation is one of `Operations`, null when there is none.
template <typename... Operations>
const Node* part(const Graph& graph, const Fused& fused) {
  for (NodeId id = fused.first; id < fused.end(); ++id) {
    const Node& node = graph.node(id);
    if ((std::holds_alternative<Operations>(node.op) || ...)) return &node;
  }
  return nullptr;
}

/// The batch_norm_apply whose ReLU made `dst`, when it normalises the same source with the same statistics as
/// `reduce`: whether dst > 0 then follows from values the reduction reads anyway. Null otherwise.
const Node* normalised_by(const Graph& graph, ValueId dst, const Node& reduce);

}  // namespace residuum::cuda
