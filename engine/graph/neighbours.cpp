// The pass that orders nodes so that those which one launch can compute follow each other. It moves nodes and
// changes nothing else: every order it gives is one in which producers come before their readers.
#include <algorithm>

#include "engine/core/overloaded.h"
#include "engine/graph/passes.h"
#include "engine/graph/readers.h"

namespace residuum {
namespace {

/// Nodes that wait until a reader wants their result: what a convolution can do to a tensor it reads.
bool waits_for_reader(const Op& op) {
  return std::holds_alternative<BatchNormApply>(op) || std::holds_alternative<BatchNormBackwardApply>(op) ||
         is_relu(op);
}

/// Nodes that follow what they read at once: what a convolution can do to its result.
bool follows_source(const Op& op) {
  return std::visit(overloaded{
                        [](const BatchNormStats&) { return true; },
                        [](const Bias&) { return true; },
                        [](const Add&) { return true; },
                        [](const ReluMask&) { return true; },
                        [](const ActivationBackward&) { return true; },
                        [](const ReluMaskBackward&) { return true; },
                        [](const BatchNormBackwardReduce&) { return true; },
                        [](const auto&) { return false; },
                    },
                    op);
}

class Order {
 public:
  explicit Order(Graph graph) : graph_(std::move(graph)), readers_(graph_), done_(graph_.nodes.size()) {}

  Graph run() {
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (!waits(static_cast<NodeId>(n))) emit(static_cast<NodeId>(n));
    }
    graph_.set_nodes(std::move(nodes_));
    return std::move(graph_);
  }

 private:
  /// A node that waits has a reader, or a node that it follows, so it is emitted in the end.
  bool waits(NodeId id) const {
    const Node& node = graph_.node(id);
    if (std::holds_alternative<BiasBackward>(node.op)) return filter_beside(id) != kNone;
    if (!waits_for_reader(node.op) && !applies_norm(node)) return false;
    return !readers_.is_output(node.outputs[0]) && !readers_.of(node.outputs[0]).empty();
  }
  /// A convolution whose batch norm is known before it and is all that reads it: it comes where that batch
  /// norm is wanted, with what can follow both (a residual addition).
  bool applies_norm(const Node& node) const {
    if (!std::holds_alternative<Conv>(node.op)) return false;
    const std::vector<NodeId>& readers = readers_.of(node.outputs[0]);
    if (readers.size() != 1) return false;
    const Node& reader = graph_.node(readers[0]);
    if (!std::holds_alternative<BatchNormApply>(reader.op)) return false;
    const NodeId statistics = graph_.value(reader.inputs[1]).producer;
    return statistics != kNone && std::holds_alternative<GramStats>(graph_.node(statistics).op);
  }
  /// The backward-filter pass that reads what a bias_backward reads, and so can make both sums: of several
  /// the last one before it, or else the first.
  NodeId filter_beside(NodeId bias_backward) const {
    const ValueId d_dst = graph_.node(bias_backward).inputs[0];
    NodeId found = kNone;
    for (const NodeId reader : readers_.of(d_dst)) {
      const Node& node = graph_.node(reader);
      if (!std::holds_alternative<ConvBackwardFilter>(node.op) || node.inputs[0] != d_dst) continue;
      if (found == kNone || reader < bias_backward) found = reader;
    }
    return found;
  }
  bool is_done(ValueId value) const {
    const NodeId producer = graph_.value(value).producer;
    return producer == kNone || done_[static_cast<size_t>(producer)];
  }
  /// Whether the node could come now, with those before it that wait.
  bool is_ready(NodeId id) const {
    const std::vector<ValueId>& inputs = graph_.node(id).inputs;
    return std::all_of(inputs.begin(), inputs.end(), [&](ValueId value) {
      if (is_done(value)) return true;
      const NodeId producer = graph_.value(value).producer;
      return waits(producer) && is_ready(producer);
    });
  }

  void emit(NodeId id) {
    if (done_[static_cast<size_t>(id)]) return;
    for (const ValueId value : graph_.node(id).inputs) {
      if (!is_done(value)) emit(graph_.value(value).producer);
    }
    if (done_[static_cast<size_t>(id)]) return;  // it followed one of them
    done_[static_cast<size_t>(id)] = true;
    nodes_.push_back(graph_.node(id));
    for (const ValueId value : graph_.node(id).outputs) follow(value, graph_.node(id).phase);
    if (std::holds_alternative<ConvBackwardFilter>(graph_.node(id).op)) follow_filter(id);
  }
  void follow_filter(NodeId filter) {
    for (const NodeId reader : readers_.of(graph_.node(filter).inputs[0])) {
      const bool is_bias = std::holds_alternative<BiasBackward>(graph_.node(reader).op);
      if (is_bias && filter_beside(reader) == filter) emit(reader);
    }
  }
  /// Not across phases: what is repeated in the backward pass must not come before it.
  void follow(ValueId value, Phase phase) {
    for (const NodeId reader : readers_.of(value)) {
      const Node& node = graph_.node(reader);
      const bool now = !done_[static_cast<size_t>(reader)] && node.phase == phase && follows_source(node.op);
      if (now && is_ready(reader)) emit(reader);
    }
  }

  Graph graph_;
  Readers readers_;
  std::vector<bool> done_;
  std::vector<Node> nodes_;
};

}  // namespace

Graph neighbours(Graph graph) {
  return Order(std::move(graph)).run();
}

}  // namespace residuum
