#include "engine/lab/path_gates.h"

#include <set>

#include "engine/core/check.h"
#include "engine/graph/autodiff.h"
#include "engine/graph/passes.h"
#include "engine/lab/surgery.h"

namespace residuum {
namespace {

/// A node on one edge into a join that changes nothing forward. Autodiff gives it a backward node of its own,
/// which is where the gate goes.
struct Mark {
  std::string gate;  ///< name of the gate's input, and of the mark's nodes
  NodeId join = kNone;
  size_t input = 0;  ///< of the join
};

std::vector<Mark> marks_of(const Graph& graph, const std::vector<Join>& joins) {
  std::vector<Mark> marks;
  for (const Join& join : joins) {
    const std::string& block = graph.blocks[static_cast<size_t>(join.block)].name;
    marks.push_back({"branch_gate." + block, join.node, join.branch});
    marks.push_back({"skip_gate." + block, join.node, join.skip});
  }
  return marks;
}

/// Puts the marks on their edges, each just before its join.
Graph add_marks(Graph graph, const std::vector<Mark>& marks) {
  const size_t count = graph.nodes.size();
  for (const Mark& mark : marks) {
    Node& join = graph.nodes[static_cast<size_t>(mark.join)];
    const ValueId edge = join.inputs[mark.input];
    const ValueId marked = graph.add_node(mark.gate, Scale{1, 0}, {edge}, Phase::kForward, join.block)[0];
    graph.nodes[static_cast<size_t>(mark.join)].inputs[mark.input] = marked;  // add_node moved the nodes
  }
  std::vector<Node> ordered;
  for (size_t n = 0; n < count; ++n) {
    for (size_t m = 0; m < marks.size(); ++m) {
      if (static_cast<size_t>(marks[m].join) == n) ordered.push_back(graph.nodes[count + m]);
    }
    ordered.push_back(graph.nodes[n]);
  }
  graph.set_nodes(std::move(ordered));
  return graph;
}

ValueId channels_input(Graph& graph, const std::string& name, int64_t channels) {
  if (const std::optional<ValueId> found = graph.find(name)) return *found;
  return graph.add_persistent(name, {DType::kF32, {channels}}, ValueKind::kInput);
}

/// The marks' forward nodes vanish; their backward nodes multiply by the gate, an input, instead of by 1.
Graph marks_to_gates(Graph graph, const std::vector<Mark>& marks) {
  std::set<std::string> names;
  for (const Mark& mark : marks) names.insert(mark.gate);
  const size_t count = graph.nodes.size();
  for (size_t n = 0; n < count; ++n) {
    if (!names.contains(graph.nodes[n].name)) continue;
    if (graph.nodes[n].phase == Phase::kForward) {
      const ValueId marked = graph.nodes[n].outputs[0], edge = graph.nodes[n].inputs[0];
      graph = replace_value(std::move(graph), marked, edge);
      continue;
    }
    if (!std::holds_alternative<Scale>(graph.nodes[n].op)) continue;  // the sum of a gradient's parts
    const ValueId d = graph.nodes[n].inputs[0];
    const Shape& shape = graph.desc(d).shape;
    const int64_t channels = shape[shape.rank() - 1];
    const ValueId unit = channels_input(graph, fmt::format("unit.{}", channels), channels);
    const ValueId gate = channels_input(graph, graph.nodes[n].name, channels);
    graph.nodes[n].op = BatchNormFrozenBackward{0};  // d * gate / sqrt(1 + 0)
    graph.nodes[n].inputs = {d, unit, unit, gate};
  }
  return graph;
}

}  // namespace

Graph path_gradient_graph(Graph forward, const std::vector<Join>& joins,
                          const std::map<std::string, ValueId>& wanted, float loss_scale) {
  const std::vector<Mark> marks = marks_of(forward, joins);
  const ValueId loss = forward.output("loss");
  std::vector<ValueId> values;
  for (const auto& [name, value] : wanted) values.push_back(value);
  Graph graph =
      marks_to_gates(differentiate(add_marks(std::move(forward), marks), values, loss_scale), marks);
  graph.outputs = {{"loss", loss}};
  for (const auto& [name, value] : wanted) {
    const auto found = graph.gradients.find(value);
    check(found != graph.gradients.end(), ErrorKind::kInternal, "the loss does not depend on '{}'",
          graph.value(value).name);
    graph.outputs["d." + name] = found->second;
  }
  graph = prune(std::move(graph));
  graph.validate("path_gradient_graph");
  return graph;
}

}  // namespace residuum
