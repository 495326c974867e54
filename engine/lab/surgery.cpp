#include "engine/lab/surgery.h"

#include <algorithm>
#include <utility>

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

/// Every reader of `value` reads 0 * value + constant instead.
Graph replace_by_constant(Graph graph, ValueId value, float constant) {
  const NodeId producer = graph.value(value).producer;
  const Node source = graph.node(producer);
  const ValueId fixed =
      graph.add_node(source.name + ".fixed", Scale{0, constant}, {value}, Phase::kForward, source.block)[0];
  std::vector<Node> nodes = std::move(graph.nodes);
  Node scale = std::move(nodes.back());
  nodes.pop_back();
  for (Node& node : nodes) std::replace(node.inputs.begin(), node.inputs.end(), value, fixed);
  nodes.insert(nodes.begin() + producer + 1, std::move(scale));
  graph.set_nodes(std::move(nodes));
  return graph;
}

/// The new channels of a densely connected block, which it appends to its input; nothing for another block.
std::vector<ValueId> appended_channels(const Graph& graph, const Block& block) {
  const NodeId producer = graph.value(block.output).producer;
  if (producer == kNone || !std::holds_alternative<Concat>(graph.node(producer).op)) return {};
  const std::vector<ValueId>& parts = graph.node(producer).inputs;
  if (std::find(parts.begin(), parts.end(), block.input) == parts.end()) return {};
  std::vector<ValueId> appended;
  for (const ValueId part : parts) {
    if (part != block.input) appended.push_back(part);
  }
  return appended;
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
  return keeps_shape(graph, block) || find_join(graph, block).has_value() ||
         !appended_channels(graph, block_of(graph, block)).empty();
}

Graph delete_block(Graph graph, int block) {
  const Block removed = block_of(graph, block);
  if (keeps_shape(graph, block)) {
    graph = replace_value(std::move(graph), removed.output, removed.input);
  } else if (const std::vector<ValueId> added = appended_channels(graph, removed); !added.empty()) {
    for (const ValueId part : added) graph = replace_by_constant(std::move(graph), part, 0);
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
    // (std::swap would compile code for every pair of operations.)
    x.op = std::exchange(y.op, std::move(x.op));
    std::swap(x.name, y.name);
    for (size_t i = 0; i < x.inputs.size(); ++i) {
      if (graph.value(x.inputs[i]).persistent()) std::swap(x.inputs[i], y.inputs[i]);
    }
  }
  std::swap(graph.blocks[static_cast<size_t>(a)].name, graph.blocks[static_cast<size_t>(b)].name);
  return graph;
}

Graph open_blocks(Graph graph) {
  for (Node& node : graph.nodes) {
    if (const auto* gate = std::get_if<BlockGate>(&node.op)) node.op = Scale{gate->draw.share(), 0};
  }
  return graph;
}

Graph close_gates(Graph graph, int block) {
  const std::optional<Gates> gates = find_gates(graph, block);
  check(gates.has_value(), ErrorKind::kConfig, "block {} has no gate to close: it is no highway block",
        block_of(graph, block).name);
  graph = replace_by_constant(std::move(graph), *gates->transform, 0);
  if (gates->carry) graph = replace_by_constant(std::move(graph), *gates->carry, 1);
  graph.validate("close_gates");
  return graph;
}

}  // namespace residuum
