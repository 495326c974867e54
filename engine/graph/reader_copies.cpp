// The pass that gives each launch which can form a tensor itself its own copy of the cheap nodes before it.
#include <algorithm>
#include <map>

#include <fmt/core.h>

#include "engine/graph/passes.h"
#include "engine/graph/readers.h"

namespace residuum {
namespace {

/// The nodes that form `value` from stored tensors, first to last: a batch norm, a batch norm and its ReLU,
/// or a batch norm's backward pass; empty for every other value.
std::vector<NodeId> forming_nodes(const Graph& graph, ValueId value) {
  const NodeId last = graph.value(value).producer;
  if (last == kNone) return {};
  const Node& node = graph.node(last);
  if (std::holds_alternative<BatchNormApply>(node.op) ||
      std::holds_alternative<BatchNormBackwardApply>(node.op))
    return {last};
  if (!is_relu(node.op)) return {};
  const NodeId before = graph.value(node.inputs[0]).producer;
  if (before == kNone || !std::holds_alternative<BatchNormApply>(graph.node(before).op)) return {};
  return {before, last};
}

/// Copies nodes for readers.
class Copier {
 public:
  Copier(Graph graph, const AbsorbRule& absorbs)
      : graph_(std::move(graph)), readers_(graph_), absorbs_(absorbs) {}

  Graph run() {
    const std::vector<Node> originals = graph_.nodes;
    for (size_t n = 0; n < originals.size(); ++n) {
      Node node = originals[n];
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (wants_copy(static_cast<NodeId>(n), i)) node.inputs[i] = copy(node.inputs[i], node, originals);
      }
      nodes_.push_back(std::move(node));
    }
    graph_.set_nodes(std::move(nodes_));
    return std::move(graph_);
  }

 private:
  bool absorbs(NodeId reader, ValueId value) const {
    const std::vector<ValueId>& inputs = graph_.node(reader).inputs;
    const auto input = static_cast<size_t>(std::find(inputs.begin(), inputs.end(), value) - inputs.begin());
    return absorbs_(graph_, reader, input);
  }

  /// A forward node shares the tensor with readers that need it in memory anyway: it stores it for them. So
  /// does backward-data the gradient that backward-filter does not form itself.
  bool wants_copy(NodeId reader, size_t input) const {
    const ValueId value = graph_.node(reader).inputs[input];
    const std::vector<NodeId> nodes = forming_nodes(graph_, value);
    if (nodes.empty() || !absorbs_(graph_, reader, input)) return false;
    const bool shared = std::any_of(nodes.begin(), nodes.end(), [&](NodeId id) {
      return readers_.of(graph_.node(id).outputs[0]).size() > 1;
    });
    if (!shared) return false;
    const std::vector<NodeId>& others = readers_.of(value);
    const bool gradient = std::holds_alternative<BatchNormBackwardApply>(graph_.node(nodes.back()).op);
    const bool stored_for_filter =
        gradient && std::any_of(others.begin(), others.end(), [&](NodeId other) {
          return std::holds_alternative<ConvBackwardFilter>(graph_.node(other).op) && !absorbs(other, value);
        });
    if (graph_.node(reader).phase != Phase::kForward && !stored_for_filter) return true;
    return !readers_.is_output(value) &&
           std::all_of(others.begin(), others.end(), [&](NodeId other) { return absorbs(other, value); });
  }

  ValueId copy(ValueId value, const Node& reader, const std::vector<Node>& originals) {
    ValueId copied = kNone;
    for (const NodeId id : forming_nodes(graph_, value)) {
      Node node = originals[static_cast<size_t>(id)];
      if (copied != kNone) node.inputs[0] = copied;
      if (reader.phase != Phase::kForward && node.phase == Phase::kForward) node.phase = Phase::kRecompute;
      node.block = reader.block;
      Value result = graph_.value(node.outputs[0]);
      result.name += fmt::format(".{}", ++copies_[node.outputs[0]]);
      copied = static_cast<ValueId>(graph_.values.size());
      node.outputs = {copied};
      graph_.values.push_back(std::move(result));
      nodes_.push_back(std::move(node));
    }
    return copied;
  }

  Graph graph_;
  Readers readers_;
  const AbsorbRule& absorbs_;
  std::vector<Node> nodes_;
  std::map<ValueId, int> copies_;
};

}  // namespace

Graph reader_copies(Graph graph, const AbsorbRule& absorbs) {
  return Copier(std::move(graph), absorbs).run();
}

}  // namespace residuum
