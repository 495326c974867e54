#include "engine/graph/group.h"

#include <algorithm>

namespace residuum {

std::vector<Group> form_groups(const Graph& graph, const JoinRule& joins) {
  std::vector<Group> groups;
  std::vector<size_t> group_of(graph.nodes.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const auto id = static_cast<NodeId>(n);
    const bool same_phase = !groups.empty() && (graph.node(groups.back().nodes.back()).phase ==
                                                Phase::kUpdate) == (graph.nodes[n].phase == Phase::kUpdate);
    if (!same_phase || !joins(graph, groups.back().nodes, id)) groups.emplace_back();
    groups.back().nodes.push_back(id);
    group_of[n] = groups.size() - 1;
  }
  std::vector<bool> escapes(graph.values.size());
  for (const auto& [name, id] : graph.outputs) escapes[static_cast<size_t>(id)] = true;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (ValueId id : graph.nodes[n].inputs) {
      const NodeId producer = graph.value(id).producer;
      if (producer != kNone && group_of[static_cast<size_t>(producer)] != group_of[n]) {
        escapes[static_cast<size_t>(id)] = true;
      }
    }
  }
  for (Group& group : groups) {
    for (NodeId id : group.nodes) {
      // Sums over the batch exist once, not per shard: they always have a place of their own.
      if (op_domain(graph.node(id).op) != OpDomain::kBatchMap) continue;
      for (ValueId out : graph.node(id).outputs) {
        if (!escapes[static_cast<size_t>(out)]) group.internal.push_back(out);
      }
    }
  }
  return groups;
}

}  // namespace residuum
