// Groups: runs of consecutive nodes that a backend executes as one launch, without a barrier between its
// nodes. A value used only inside one group is internal: it never reaches the arena.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/graph/graph.h"

namespace residuum {

struct Group {
  std::vector<NodeId> nodes;      ///< consecutive, in graph order
  std::vector<ValueId> internal;  ///< produced and consumed only inside
};

/// Whether `next` may run in one launch with the nodes of `group` (not empty); the backend's rule.
using JoinRule = std::function<bool(const Graph& graph, std::span<const NodeId> group, NodeId next)>;

/// Cuts the node list greedily: each node joins the group before it when the rule allows. Values that are an
/// output of the graph are never internal.
std::vector<Group> form_groups(const Graph& graph, const JoinRule& joins);

}  // namespace residuum
