#include "engine/lab/surgery.h"

#include <algorithm>
#include <set>

#include "engine/core/check.h"
#include "engine/graph/passes.h"

namespace residuum {
namespace {

const Block& block_of(const Graph& graph, int block) {
  return graph.blocks.at(static_cast<size_t>(block));
}

bool keeps_shape(const Graph& graph, int block) {
  return graph.desc(block_of(graph, block).input) == graph.desc(block_of(graph, block).output);
}

std::vector<NodeId> nodes_of(const Graph& graph, int block) {
  std::vector<NodeId> nodes;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    if (graph.nodes[n].block == block) nodes.push_back(static_cast<NodeId>(n));
  }
  return nodes;
}

bool equal_nodes(const Graph& graph, const Node& a, const Node& b) {
  const auto persistent = [&](ValueId id) { return graph.value(id).persistent(); };
  return a.op.index() == b.op.index() && graph.descs(a.inputs) == graph.descs(b.inputs) &&
         graph.descs(a.outputs) == graph.descs(b.outputs) &&
         std::equal(a.inputs.begin(), a.inputs.end(), b.inputs.begin(),
                    [&](ValueId x, ValueId y) { return persistent(x) == persistent(y); });
}

}  // namespace

Graph replace_value(Graph graph, ValueId from, ValueId to) {
  check(graph.desc(from) == graph.desc(to), ErrorKind::kInternal, "'{}' is {}, it cannot stand for '{}', {}",
        graph.value(to).name, to_string(graph.desc(to)), graph.value(from).name, to_string(graph.desc(from)));
  for (Node& node : graph.nodes) std::replace(node.inputs.begin(), node.inputs.end(), from, to);
  for (Block& block : graph.blocks) {
    if (block.input == from) block.input = to;
    if (block.output == from) block.output = to;
  }
  for (auto& [name, id] : graph.outputs) {
    if (id == from) id = to;
  }
  return graph;
}

bool can_delete(const Graph& graph, int block) {
  return keeps_shape(graph, block) || find_join(graph, block).has_value();
}

Graph delete_block(Graph graph, int block) {
  const Block removed = block_of(graph, block);
  if (keeps_shape(graph, block)) {
    graph = replace_value(std::move(graph), removed.output, removed.input);
  } else {
    const std::optional<Join> join = find_join(graph, block);
    check(join.has_value(), ErrorKind::kConfig,
          "block {} cannot be deleted: it makes {} of {} and has no shortcut that does the same",
          removed.name, to_string(graph.desc(removed.output)), to_string(graph.desc(removed.input)));
    const Node& add = graph.node(join->node);
    const ValueId sum = add.outputs[0], skip = add.inputs[join->skip];
    graph = replace_value(std::move(graph), sum, skip);
  }
  return prune(std::move(graph));
}

Graph delete_blocks(Graph graph, std::span<const int> blocks) {
  for (const int block : blocks) graph = delete_block(std::move(graph), block);
  return graph;
}

Graph delete_layer(Graph graph, const Layer& layer) {
  check(graph.desc(layer.input) == graph.desc(layer.output), ErrorKind::kConfig,
        "layer {} cannot be deleted: it makes {} of {}", layer.name, to_string(graph.desc(layer.output)),
        to_string(graph.desc(layer.input)));
  return prune(replace_value(std::move(graph), layer.output, layer.input));
}

bool equal_blocks(const Graph& graph, int a, int b) {
  const std::vector<NodeId> first = nodes_of(graph, a), second = nodes_of(graph, b);
  return std::equal(first.begin(), first.end(), second.begin(), second.end(),
                    [&](NodeId x, NodeId y) { return equal_nodes(graph, graph.node(x), graph.node(y)); });
}

Graph swap_blocks(Graph graph, int a, int b) {
  check(equal_blocks(graph, a, b), ErrorKind::kConfig,
        "blocks {} and {} cannot be exchanged: their shapes differ", block_of(graph, a).name,
        block_of(graph, b).name);
  if (a == b) return graph;
  const std::vector<NodeId> first = nodes_of(graph, a), second = nodes_of(graph, b);
  for (size_t n = 0; n < first.size(); ++n) {
    Node& x = graph.nodes[static_cast<size_t>(first[n])];
    Node& y = graph.nodes[static_cast<size_t>(second[n])];
    std::swap(x.op, y.op);
    std::swap(x.name, y.name);
    for (size_t i = 0; i < x.inputs.size(); ++i) {
      if (graph.value(x.inputs[i]).persistent()) std::swap(x.inputs[i], y.inputs[i]);
    }
  }
  std::swap(graph.blocks[static_cast<size_t>(a)].name, graph.blocks[static_cast<size_t>(b)].name);
  return graph;
}

Graph close_gates(Graph graph, int block) {
  const std::vector<ValueId> gates = find_gates(graph, block);
  check(!gates.empty(), ErrorKind::kConfig, "block {} has no gate to close: it is no highway block",
        block_of(graph, block).name);
  for (const ValueId gate : gates) {
    const NodeId producer = graph.value(gate).producer;
    const std::string name = graph.node(producer).name + ".closed";
    const ValueId closed = graph.add_node(name, Scale{0, 0}, {gate}, Phase::kForward, block)[0];
    std::vector<Node> nodes = std::move(graph.nodes);
    Node zero = std::move(nodes.back());
    nodes.pop_back();
    for (Node& node : nodes) std::replace(node.inputs.begin(), node.inputs.end(), gate, closed);
    nodes.insert(nodes.begin() + producer + 1, std::move(zero));
    graph.set_nodes(std::move(nodes));
  }
  graph.validate("close_gates");
  return graph;
}

Graph with_activation(Graph graph, ActivationKind kind) {
  std::set<ValueId> gates;
  for (size_t block = 0; block < graph.blocks.size(); ++block) {
    for (const ValueId gate : find_gates(graph, static_cast<int>(block))) gates.insert(gate);
  }
  for (Node& node : graph.nodes) {
    auto* activation = std::get_if<Activation>(&node.op);
    if (activation != nullptr && !gates.contains(node.outputs[0])) activation->kind = kind;
  }
  return graph;
}

Graph without_batch_norm(Graph graph) {
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (!std::holds_alternative<BatchNormApply>(node.op)) continue;
    const ValueId dst = node.outputs[0], src = node.inputs[0];
    graph = replace_value(std::move(graph), dst, src);
  }
  return prune(std::move(graph));
}

Graph with_initial_scale(Graph graph, double factor) {
  for (auto& [id, init] : graph.inits) {
    if (graph.value(id).kind == ValueKind::kParameter && graph.desc(id).shape.rank() > 1)
      init.value *= factor;
  }
  return graph;
}

}  // namespace residuum
