#include "engine/lab/shortcut_scale.h"

#include "engine/graph/passes.h"
#include "engine/lab/path_gates.h"
#include "engine/lab/surgery.h"

namespace residuum {
namespace {

std::string input_of(size_t block) {
  return fmt::format("in.{}", block);
}
std::string output_of(size_t block) {
  return fmt::format("out.{}", block);
}

/// The inputs and outputs of the joins' blocks by name.
std::map<std::string, ValueId> ends_of(const Graph& graph, const std::vector<Join>& joins) {
  std::map<std::string, ValueId> ends;
  for (size_t i = 0; i < joins.size(); ++i) {
    const Block& block = graph.blocks[static_cast<size_t>(joins[i].block)];
    ends[input_of(i)] = block.input;
    ends[output_of(i)] = block.output;
  }
  return ends;
}

/// The net with every branch taken off: signals go through shortcuts alone.
Graph shortcuts_alone(Graph graph, const std::vector<Join>& joins) {
  std::map<std::string, ValueId> ends = ends_of(graph, joins);
  for (const Join& join : joins) {
    const ValueId sum = graph.node(join.node).outputs[0], skip = graph.node(join.node).inputs[join.skip];
    graph = replace_value(std::move(graph), sum, skip);
    for (auto& [name, value] : ends) {
      if (value == sum) value = skip;
    }
  }
  graph.outputs = ends;
  return prune(std::move(graph));
}

double norm(Probe& probe, const std::string& output) {
  Moments moments;
  moments.add(probe.read(output));
  return moments.norm();
}

/// The factor of ShortcutScale::lambda.
std::optional<double> constant_scale(const Graph& graph, const Join& join) {
  double factor = 1;
  const ValueId input = graph.blocks[static_cast<size_t>(join.block)].input;
  ValueId value = graph.node(join.node).inputs[join.skip];
  while (value != input) {
    const NodeId producer = graph.value(value).producer;
    if (producer == kNone) return std::nullopt;
    const auto* scale = std::get_if<Scale>(&graph.node(producer).op);
    if (scale == nullptr || scale->offset != 0) return std::nullopt;
    factor *= static_cast<double>(scale->factor);
    value = graph.node(producer).inputs[0];
  }
  return factor;
}

}  // namespace

ShortcutScales shortcut_scales(const Subject& subject, const SampleOptions& options) {
  const SampleBatches samples = sample_batches(subject, options.batch, options.batches, options.seed);
  const Graph graph = forward_graph(subject, options.mode, samples);
  const std::vector<Join> joins = require_joins(graph, subject.model, "lambda");
  Probe forward(shortcuts_alone(graph, joins), subject, options.seed);
  Probe backward(path_gradient_graph(graph, joins, ends_of(graph, joins), loss_scale_of(subject)), subject,
                 options.seed);
  for (const auto& [name, id] : backward.graph().persistent_names) {
    if (name.starts_with("unit.") || name.starts_with("skip_gate.")) backward.fill(name, 1);
    if (name.starts_with("branch_gate.")) backward.fill(name, 0);
  }
  ShortcutScales scales;
  scales.product = 1;
  for (const Join& join : joins) {
    const std::optional<double> lambda = constant_scale(graph, join);
    scales.blocks.push_back({graph.blocks[static_cast<size_t>(join.block)].name, lambda});
    scales.product = lambda && scales.product ? std::optional(*scales.product * *lambda) : std::nullopt;
  }
  const double weight = 1 / static_cast<double>(samples.batches.size());
  const size_t last = joins.size() - 1;
  for (const Batch& batch : samples.batches) {
    forward.write(batch);
    forward.run();
    backward.write(batch);
    backward.run();
    for (size_t i = 0; i < joins.size(); ++i) {
      scales.blocks[i].forward += weight * norm(forward, output_of(i)) / norm(forward, input_of(i));
      scales.blocks[i].backward +=
          weight * norm(backward, "d." + input_of(i)) / norm(backward, "d." + output_of(i));
    }
    scales.forward += weight * norm(forward, output_of(last)) / norm(forward, input_of(0));
    scales.backward += weight * norm(backward, "d." + input_of(0)) / norm(backward, "d." + output_of(last));
  }
  return scales;
}

}  // namespace residuum
