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

/// Groups of `lengths` consecutive nodes each, which are all nodes together. Values that are an output of the
/// graph are never internal.
std::vector<Group> make_groups(const Graph& graph, std::span<const size_t> lengths);

/// Cuts the node list greedily: each node joins the group before it when the rule allows.
std::vector<Group> form_groups(const Graph& graph, const JoinRule& joins);

/// One node a group.
std::vector<Group> single_groups(const Graph& graph);

}  // namespace residuum
