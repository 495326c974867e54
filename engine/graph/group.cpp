#include "engine/graph/group.h"

namespace residuum {

std::vector<Group> make_groups(const Graph& graph, std::span<const size_t> lengths) {
  std::vector<Group> groups;
  std::vector<size_t> group_of;
  for (const size_t length : lengths) {
    Group& group = groups.emplace_back();
    for (size_t i = 0; i < length; ++i) {
      group.nodes.push_back(static_cast<NodeId>(group_of.size()));
      group_of.push_back(groups.size() - 1);
    }
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

std::vector<Group> form_groups(const Graph& graph, const JoinRule& joins) {
  std::vector<size_t> lengths;
  std::vector<NodeId> group;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const auto id = static_cast<NodeId>(n);
    const bool same_phase = !group.empty() && (graph.node(group.back()).phase == Phase::kUpdate) ==
                                                  (graph.nodes[n].phase == Phase::kUpdate);
    if (!same_phase || !joins(graph, group, id)) {
      lengths.push_back(0);
      group.clear();
    }
    group.push_back(id);
    ++lengths.back();
  }
  return make_groups(graph, lengths);
}

std::vector<Group> single_groups(const Graph& graph) {
  return make_groups(graph, std::vector<size_t>(graph.nodes.size(), 1));
}

}  // namespace residuum
