// What the matchers of fused sequences ask about a graph.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "engine/graph/readers.h"

namespace residuum::cuda {

/// A graph with what is known of it. Without readers a sequence is taken as one that was matched before: the
/// questions of who reads its values are all answered with yes.
struct Matching {
  const Graph& graph;
  const std::set<std::string>& off;  ///< names of fusion_kinds()
  const Readers* readers = nullptr;

  bool allows(const std::string& kind) const { return !off.contains(kind); }
  /// Whether `reader` alone reads `value`, once.
  bool only(ValueId value, NodeId reader) const { return readers == nullptr || readers->only(value, reader); }
  /// Whether nodes outside of [first, end) read `value`, or it is an output of the graph; `otherwise` when
  /// that is not known.
  bool escapes(ValueId value, NodeId first, NodeId end, bool otherwise) const {
    if (readers == nullptr) return otherwise;
    const std::vector<NodeId>& nodes = readers->of(value);
    return readers->is_output(value) ||
           std::any_of(nodes.begin(), nodes.end(), [&](NodeId id) { return id < first || id >= end; });
  }
};

/// Takes nodes in their order from a run of a graph.
class NodeCursor {
 public:
  NodeCursor(const Graph& graph, NodeId first, size_t limit)
      : graph_(graph), next_(static_cast<size_t>(first)), end_(std::min(graph.nodes.size(), next_ + limit)) {}

  NodeId next() const { return static_cast<NodeId>(next_); }
  /// The next node, without taking it, when its operation is one of `Operations`; else null.
  template <typename... Operations>
  const Node* peek() const {
    if (next_ == end_) return nullptr;
    const Node& node = graph_.nodes[next_];
    return (std::holds_alternative<Operations>(node.op) || ...) ? &node : nullptr;
  }
  template <typename... Operations>
  const Node* take() {
    const Node* node = peek<Operations...>();
    if (node != nullptr) ++next_;
    return node;
  }
  const Node* take_relu() {
    const Node* node = peek<Activation>();
    return node != nullptr && std::get<Activation>(node->op).kind == ActivationKind::kRelu
               ? take<Activation>()
               : nullptr;
  }
  void go_back_to(NodeId id) { next_ = static_cast<size_t>(id); }

 private:
  const Graph& graph_;
  size_t next_, end_;
};

}  // namespace residuum::cuda
