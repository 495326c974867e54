#include "engine/lab/structure.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "engine/core/check.h"
#include "engine/core/nearest.h"
#include "engine/graph/readers.h"

namespace residuum {
namespace {

/// Fewest and most weight layers on a way from the block's input; nothing for a value that does not depend on
/// it.
struct Reach {
  int64_t fewest = 0, most = 0;
};
using Reaches = std::vector<std::optional<Reach>>;

std::optional<Reach> joined(const std::optional<Reach>& a, const std::optional<Reach>& b) {
  if (!a || !b) return a ? a : b;
  return Reach{std::min(a->fewest, b->fewest), std::max(a->most, b->most)};
}

/// Of every value that a node of the block has written when `node` is reached, through batches only: neither
/// statistics nor weights are ways of the data.
void follow(const Node& node, Reaches& reaches) {
  std::optional<Reach> reach;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (reads_batch(node.op, i)) reach = joined(reach, reaches[static_cast<size_t>(node.inputs[i])]);
  }
  if (reach && has_weights(node.op)) {
    ++reach->fewest;
    ++reach->most;
  }
  for (const ValueId id : node.outputs) reaches[static_cast<size_t>(id)] = reach;
}

std::optional<Join> as_join(const Node& node, const Reaches& reaches) {
  if (!std::holds_alternative<Add>(node.op)) return std::nullopt;
  const std::optional<Reach>& first = reaches[static_cast<size_t>(node.inputs[0])];
  const std::optional<Reach>& second = reaches[static_cast<size_t>(node.inputs[1])];
  if (!first || !second) return std::nullopt;
  const auto order = [](const Reach& reach) { return std::pair(reach.fewest, reach.most); };
  if (order(*first) == order(*second)) return std::nullopt;
  Join join;
  join.skip = order(*first) < order(*second) ? 0 : 1;
  join.branch = 1 - join.skip;
  join.skip_layers = (join.skip == 0 ? first : second)->most;
  join.branch_layers = (join.skip == 0 ? second : first)->most;
  return join;
}

/// The reader of `value` that continues its layer: the only node that takes it as a batch, its statistics
/// aside.
const Node* next_of_layer(const Graph& graph, const Readers& readers, ValueId value) {
  const Node* next = nullptr;
  if (readers.is_output(value)) return nullptr;
  for (const NodeId id : readers.of(value)) {
    const Node& node = graph.node(id);
    if (std::holds_alternative<BatchNormStats>(node.op)) continue;
    if (next != nullptr) return nullptr;
    next = &node;
  }
  return next;
}

}  // namespace

bool has_weights(const Op& op) {
  return std::holds_alternative<Conv>(op) || std::holds_alternative<Linear>(op);
}

std::optional<Join> find_join(const Graph& graph, int block) {
  std::optional<Join> found;
  Reaches reaches(graph.values.size());
  reaches[static_cast<size_t>(graph.blocks.at(static_cast<size_t>(block)).input)] = Reach{};
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (node.block != block || node.phase != Phase::kForward) continue;
    if (const std::optional<Join> join = as_join(node, reaches)) {
      found = join;
      found->block = block;
      found->node = static_cast<NodeId>(n);
    }
    follow(node, reaches);
  }
  return found;
}

std::vector<Join> find_joins(const Graph& graph) {
  std::vector<Join> joins;
  for (size_t block = 0; block < graph.blocks.size(); ++block) {
    if (const std::optional<Join> join = find_join(graph, static_cast<int>(block))) joins.push_back(*join);
  }
  return joins;
}

std::vector<Join> require_joins(const Graph& graph, const std::string& model, const std::string& analysis) {
  check(!graph.blocks.empty(), ErrorKind::kConfig,
        "{}: model {} has no blocks, needed are blocks with a shortcut", analysis, model);
  for (size_t block = 0; block < graph.blocks.size(); ++block) {
    check(
        find_join(graph, static_cast<int>(block)).has_value(), ErrorKind::kConfig,
        "{}: model {} has no shortcut that is added to the branch in block {}, needed is one in every block",
        analysis, model, graph.blocks[block].name);
  }
  return find_joins(graph);
}

std::vector<Layer> find_layers(const Graph& graph) {
  const Readers readers(graph);
  std::vector<Layer> layers;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (node.phase != Phase::kForward || !has_weights(node.op)) continue;
    Layer layer{node.name, static_cast<NodeId>(n), node.inputs[0], node.outputs[0], node.outputs[0]};
    const Node* next = next_of_layer(graph, readers, layer.output);
    while (next != nullptr &&
           (std::holds_alternative<Bias>(next->op) ||
            (std::holds_alternative<BatchNormApply>(next->op) && next->inputs[0] == layer.output))) {
      layer.output = layer.normalized = next->outputs[0];
      next = next_of_layer(graph, readers, layer.output);
    }
    if (next != nullptr && std::holds_alternative<Activation>(next->op)) layer.output = next->outputs[0];
    layers.push_back(std::move(layer));
  }
  return layers;
}

std::optional<Gates> find_gates(const Graph& graph, int block) {
  Gates gates;
  for (const Node& node : graph.nodes) {
    const auto* activation = std::get_if<Activation>(&node.op);
    if (node.block != block || activation == nullptr || activation->kind != ActivationKind::kSigmoid)
      continue;
    if (node.name.ends_with(".transform")) gates.transform = node.outputs[0];
    if (node.name.ends_with(".carry")) gates.carry = node.outputs[0];
  }
  const std::optional<Join> join = find_join(graph, block);
  if (!gates.transform || !join) return std::nullopt;
  for (const ValueId term : graph.node(join->node).inputs) {
    const NodeId producer = graph.value(term).producer;
    if (producer == kNone || !std::holds_alternative<Multiply>(graph.node(producer).op)) return std::nullopt;
  }
  return gates;
}

int block_index(const Graph& graph, const std::string& name) {
  std::vector<std::string> names;
  for (const Block& block : graph.blocks) names.push_back(block.name);
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<int>(found - names.begin());
  check(!names.empty(), ErrorKind::kConfig, "there is no block '{}': the model has no blocks", name);
  fail(ErrorKind::kConfig, "there is no block '{}', nearest are {}", name,
       fmt::join(nearest(name, names, 3), ", "));
}

}  // namespace residuum
