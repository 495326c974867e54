// The pass that brings the weight gradients of equal layers together. Each waits, with the nodes that form
// what it reads, for the next ones like it: nothing of the backward pass reads it. It moves nodes and changes
// nothing else.
#include <algorithm>

#include "engine/graph/passes.h"
#include "engine/graph/readers.h"

namespace residuum {
namespace {

/// A weight gradient with the nodes before it that form tensors for it alone: [first, filter].
struct Unit {
  NodeId first = kNone, filter = kNone;
  bool begins_at(NodeId id) const { return first == id; }
};

/// Equal units that wait, and how many weight gradients had come when the last of them did.
struct Waiting {
  std::vector<Unit> units;
  int last = 0;
};
/// After so many weight gradients of other kinds no more is expected: their layers are of another stage.
constexpr int kMostBetween = 4;

bool forms_source(const Op& op) {
  return std::holds_alternative<BatchNormApply>(op) || std::holds_alternative<BatchNormBackwardApply>(op) ||
         std::holds_alternative<Activation>(op);
}

class Gatherer {
 public:
  Gatherer(Graph graph, const LayersRule& layers)
      : graph_(std::move(graph)), readers_(graph_), layers_(layers) {}

  Graph run() {
    const std::vector<Unit> units = find_units();
    auto next = units.begin();
    for (NodeId id = 0; id < static_cast<NodeId>(graph_.nodes.size()); ++id) {
      if (next != units.end() && next->begins_at(id)) {
        wait(*next);
        id = next->filter;
        ++next;
      } else {
        release_for(graph_.node(id));
        nodes_.push_back(graph_.node(id));
      }
      release([&](const Waiting& group) { return filters_ - group.last > kMostBetween; });
    }
    release([](const Waiting&) { return true; });
    graph_.set_nodes(std::move(nodes_));
    return std::move(graph_);
  }

 private:
  std::vector<Unit> find_units() const {
    std::vector<Unit> units;
    for (NodeId id = 0; id < static_cast<NodeId>(graph_.nodes.size()); ++id) {
      const bool is_filter = std::holds_alternative<ConvBackwardFilter>(graph_.node(id).op);
      if (!is_filter || has_bias_behind(id) || layers_(graph_, id) < 2) continue;
      NodeId first = id;
      while (first > 0 && forms_for(first - 1, id)) --first;
      units.push_back({first, id});
    }
    return units;
  }
  /// One launch makes the gradients of weights and bias.
  bool has_bias_behind(NodeId filter) const {
    const auto behind = static_cast<size_t>(filter) + 1;
    if (behind == graph_.nodes.size()) return false;
    const Node& node = graph_.nodes[behind];
    return std::holds_alternative<BiasBackward>(node.op) && node.inputs[0] == graph_.node(filter).inputs[0];
  }
  /// Whether the node forms a tensor that the nodes from it to `filter` alone read.
  bool forms_for(NodeId id, NodeId filter) const {
    const Node& node = graph_.node(id);
    if (!forms_source(node.op) || readers_.is_output(node.outputs[0])) return false;
    const std::vector<NodeId>& readers = readers_.of(node.outputs[0]);
    return !readers.empty() && std::all_of(readers.begin(), readers.end(),
                                           [&](NodeId reader) { return reader > id && reader <= filter; });
  }

  bool equal_nodes(const Node& one, const Node& other) const {
    const auto same_types = [&](const std::vector<ValueId>& a, const std::vector<ValueId>& b) {
      return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                        [&](ValueId left, ValueId right) { return graph_.desc(left) == graph_.desc(right); });
    };
    if (one.op.index() != other.op.index()) return false;
    const auto* filter = std::get_if<ConvBackwardFilter>(&one.op);
    if (filter != nullptr && filter->shape != std::get<ConvBackwardFilter>(other.op).shape) return false;
    return same_types(one.inputs, other.inputs) && same_types(one.outputs, other.outputs);
  }
  bool equal(const Unit& one, const Unit& other) const {
    if (one.filter - one.first != other.filter - other.first) return false;
    for (NodeId i = 0; one.first + i <= one.filter; ++i) {
      if (!equal_nodes(graph_.node(one.first + i), graph_.node(other.first + i))) return false;
    }
    return true;
  }

  void wait(const Unit& unit) {
    ++filters_;
    auto group = std::find_if(waiting_.begin(), waiting_.end(),
                              [&](const Waiting& one) { return equal(one.units.front(), unit); });
    if (group == waiting_.end()) group = waiting_.insert(group, Waiting{});
    group->units.push_back(unit);
    group->last = filters_;
    release([&](const Waiting& one) {
      return static_cast<int>(one.units.size()) == layers_(graph_, one.units.front().filter);
    });
  }
  /// What `node` reads, and all before the backward pass ends.
  void release_for(const Node& node) {
    const auto reads = [&](const Unit& unit) {
      const ValueId d_weight = graph_.node(unit.filter).outputs[0];
      return std::find(node.inputs.begin(), node.inputs.end(), d_weight) != node.inputs.end();
    };
    if (std::holds_alternative<ConvBackwardFilter>(node.op)) ++filters_;
    release([&](const Waiting& group) {
      return node.phase >= Phase::kAccumulate || std::any_of(group.units.begin(), group.units.end(), reads);
    });
  }
  template <typename Condition>
  void release(const Condition& condition) {
    for (const Waiting& group : waiting_) {
      if (!condition(group)) continue;
      for (const Unit& unit : group.units) {
        for (NodeId id = unit.first; id <= unit.filter; ++id) nodes_.push_back(graph_.node(id));
      }
    }
    std::erase_if(waiting_, condition);
  }

  Graph graph_;
  Readers readers_;
  const LayersRule& layers_;
  std::vector<Node> nodes_;
  std::vector<Waiting> waiting_;
  int filters_ = 0;  ///< weight gradients so far
};

}  // namespace

Graph equal_filters(Graph graph, const LayersRule& layers) {
  return Gatherer(std::move(graph), layers).run();
}

}  // namespace residuum
