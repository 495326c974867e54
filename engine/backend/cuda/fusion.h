// Which consecutive nodes one kernel computes. A value disappears inside a fused sequence only when nobody
// outside reads it, because on a GPU a value without a place in memory exists in registers alone: joining
// nodes into groups (joins) and turning groups into steps (make_steps) both ask this one matcher.
#pragma once

#include <cstddef>

#include "engine/graph/graph.h"

namespace residuum::cuda {

enum class FusedKind : uint8_t {
  kNode,    ///< one node as it is
  kWindow,  ///< crop_flip -> normalize
  kApply,   ///< batch_norm_apply [-> add] [-> relu or relu_mask], or -> relu -> max_pool
  kReduce,  ///< [max_pool_backward or add ->] [the backward of relu or relu_mask ->]
            ///< batch_norm_backward_reduce
};

/// The nodes [first, first + length).
struct Fused {
  FusedKind kind = FusedKind::kNode;
  NodeId first = kNone;
  size_t length = 1;

  bool contains(NodeId id) const { return id >= first && id < first + static_cast<NodeId>(length); }
};

/// The longest sequence of at most `limit` nodes from `first` on that one kernel computes.
Fused fused_at(const Graph& graph, NodeId first, size_t limit);

/// The node of a fused sequence whose operation is one of `Operations`, null when there is none.
template <typename... Operations>
const Node* part(const Graph& graph, const Fused& fused) {
  for (size_t i = 0; i < fused.length; ++i) {
    const Node& node = graph.node(fused.first + static_cast<NodeId>(i));
    if ((std::holds_alternative<Operations>(node.op) || ...)) return &node;
  }
  return nullptr;
}

/// The batch_norm_apply whose ReLU made `dst`, when it normalises the same source with the same statistics as
/// `reduce`: whether dst > 0 then follows from values the reduction reads anyway. Null otherwise.
const Node* normalised_by(const Graph& graph, ValueId dst, const Node& reduce);

}  // namespace residuum::cuda
