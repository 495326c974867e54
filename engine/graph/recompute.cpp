// The two passes that repeat forward nodes in the backward pass instead of keeping their results.
#include <algorithm>
#include <map>

#include "engine/graph/passes.h"

namespace residuum {
namespace {

/// Writes a new node list in which some forward nodes appear a second time, with new outputs.
class Repeater {
 public:
  explicit Repeater(Graph graph) : graph_(std::move(graph)) {}

  const Graph& graph() const { return graph_; }
  void emit(Node node) { nodes_.push_back(std::move(node)); }
  /// Appends a copy of `node` reading `inputs` and returns the new outputs.
  std::vector<ValueId> repeat(const Node& node, std::vector<ValueId> inputs, int block) {
    Node copy{node.name, node.op, std::move(inputs), {}, Phase::kRecompute, block};
    for (ValueId id : node.outputs) {
      Value value = graph_.value(id);
      value.name += ".again";
      copy.outputs.push_back(static_cast<ValueId>(graph_.values.size()));
      graph_.values.push_back(std::move(value));
    }
    nodes_.push_back(copy);
    return copy.outputs;
  }
  Graph finish() {
    graph_.set_nodes(std::move(nodes_));
    return std::move(graph_);
  }

 private:
  Graph graph_;
  std::vector<Node> nodes_;
};

bool is_backward(const Node& node) {
  return node.phase == Phase::kBackward;
}

/// Which values the nodes that satisfy `reader` read.
template <typename Predicate>
std::vector<bool> read_by(const Graph& graph, Predicate reader) {
  std::vector<bool> read(graph.values.size());
  for (const Node& node : graph.nodes) {
    if (!reader(node)) continue;
    for (ValueId id : node.inputs) read[static_cast<size_t>(id)] = true;
  }
  return read;
}

/// Small results of a whole batch: they are kept, not computed twice.
bool is_statistics(const Op& op) {
  return std::holds_alternative<BatchNormStats>(op) || std::holds_alternative<Gram>(op) ||
         std::holds_alternative<GramStats>(op);
}

/// The forward nodes of a block that recompute repeats: all but those whose result is kept (statistics,
/// values that nodes outside the block's forward part read) and those no repeated or backward node of the
/// block reads.
std::vector<NodeId> nodes_to_repeat(const Graph& graph, const std::vector<NodeId>& forward,
                                    const std::vector<NodeId>& backward,
                                    const std::vector<int>& outside_readers) {
  std::vector<bool> wanted(graph.values.size());
  for (NodeId id : backward) {
    for (ValueId input : graph.node(id).inputs) wanted[static_cast<size_t>(input)] = true;
  }
  std::vector<NodeId> result;
  for (auto id = forward.rbegin(); id != forward.rend(); ++id) {
    const Node& node = graph.node(*id);
    const bool kept = is_statistics(node.op) ||
                      std::any_of(node.outputs.begin(), node.outputs.end(),
                                  [&](ValueId out) { return outside_readers[static_cast<size_t>(out)] > 0; });
    const bool used = std::any_of(node.outputs.begin(), node.outputs.end(),
                                  [&](ValueId out) { return wanted[static_cast<size_t>(out)]; });
    if (kept || !used) continue;
    for (ValueId input : node.inputs) wanted[static_cast<size_t>(input)] = true;
    result.push_back(*id);
  }
  std::reverse(result.begin(), result.end());
  return result;
}

std::vector<ValueId> mapped(const std::map<ValueId, ValueId>& map, std::vector<ValueId> ids) {
  for (ValueId& id : ids) {
    const auto found = map.find(id);
    if (found != map.end()) id = found->second;
  }
  return ids;
}

}  // namespace

Graph recompute_blocks(Graph input) {
  struct Members {
    std::vector<NodeId> forward, backward;
  };
  std::vector<Members> members(input.blocks.size());
  for (size_t n = 0; n < input.nodes.size(); ++n) {
    const Node& node = input.nodes[n];
    if (node.block == kNone) continue;
    Members& block = members[static_cast<size_t>(node.block)];
    if (node.phase == Phase::kForward) block.forward.push_back(static_cast<NodeId>(n));
    if (is_backward(node)) block.backward.push_back(static_cast<NodeId>(n));
  }
  std::vector<int> outside_readers(input.values.size());
  for (const Node& node : input.nodes) {
    for (ValueId id : node.inputs) {
      const NodeId producer = input.value(id).producer;
      if (producer != kNone && input.node(producer).block != node.block)
        ++outside_readers[static_cast<size_t>(id)];
    }
  }
  for (const auto& [name, id] : input.outputs) ++outside_readers[static_cast<size_t>(id)];

  Repeater repeater(std::move(input));
  const std::vector<Node> nodes = repeater.graph().nodes;
  std::vector<std::map<ValueId, ValueId>> again(members.size());
  std::vector<bool> done(members.size());
  for (Node node : nodes) {
    if (is_backward(node) && node.block != kNone) {
      const auto b = static_cast<size_t>(node.block);
      if (!done[b]) {
        done[b] = true;
        for (NodeId id :
             nodes_to_repeat(repeater.graph(), members[b].forward, members[b].backward, outside_readers)) {
          const Node& original = nodes[static_cast<size_t>(id)];
          const std::vector<ValueId> outs =
              repeater.repeat(original, mapped(again[b], original.inputs), node.block);
          for (size_t i = 0; i < outs.size(); ++i) again[b][original.outputs[i]] = outs[i];
        }
      }
      node.inputs = mapped(again[b], std::move(node.inputs));
    }
    repeater.emit(std::move(node));
  }
  return repeater.finish();
}

Graph rematerialize(Graph input) {
  const std::vector<bool> read_backward = read_by(input, is_backward);
  std::vector<bool> cheap(input.values.size());  // repeatable from values the backward pass keeps
  for (const Node& node : input.nodes) {
    if (node.phase != Phase::kForward || !is_cheap(node.op)) continue;
    cheap[static_cast<size_t>(node.outputs[0])] =
        std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
          return input.value(id).persistent() || input.desc(id).shape.rank() <= 1 ||
                 cheap[static_cast<size_t>(id)] || read_backward[static_cast<size_t>(id)];
        });
  }
  Repeater repeater(std::move(input));
  const std::vector<Node> nodes = repeater.graph().nodes;
  std::map<ValueId, ValueId> again;
  const std::function<void(ValueId, int)> repeat = [&](ValueId id, int block) {
    if (static_cast<size_t>(id) >= cheap.size() || !cheap[static_cast<size_t>(id)] || again.contains(id))
      return;
    const Node& node = nodes[static_cast<size_t>(repeater.graph().value(id).producer)];
    for (ValueId source : node.inputs) repeat(source, block);
    again[id] = repeater.repeat(node, mapped(again, node.inputs), block)[0];
  };
  for (Node node : nodes) {
    if (is_backward(node)) {
      for (ValueId id : node.inputs) repeat(id, node.block);
      node.inputs = mapped(again, std::move(node.inputs));
    }
    repeater.emit(std::move(node));
  }
  return repeater.finish();
}

}  // namespace residuum
