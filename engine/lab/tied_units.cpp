#include "engine/lab/tied_units.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/core/check.h"
#include "engine/lab/short_training.h"
#include "engine/lab/structure.h"

namespace residuum {
namespace {

/// Copies weights of one unit to another, in the state.
class Tie {
 public:
  Tie(const Graph& graph, State& state) : graph_(graph), state_(state) {}

  /// Ties channels 0 and 1 of the output of `layer`: what makes them, and everything that reads them as
  /// channels.
  void units_of(const Layer& layer) {
    const Node& node = graph_.node(layer.weight_node);
    copy_row(node.inputs[1]);
    std::set<ValueId> carriers = {node.outputs[0]};
    for (const Node& reader : graph_.nodes) {
      const bool reads = std::any_of(reader.inputs.begin(), reader.inputs.end(),
                                     [&](ValueId id) { return carriers.contains(id); });
      if (reads && reader.phase == Phase::kForward) follow(reader, carriers);
    }
  }

 private:
  void follow(const Node& reader, std::set<ValueId>& carriers) {
    if (std::holds_alternative<Conv>(reader.op) || std::holds_alternative<Linear>(reader.op)) {
      const Shape& src = graph_.desc(reader.inputs[0]).shape;
      const bool conv = std::holds_alternative<Conv>(reader.op);
      copy_column(reader.inputs[1], conv ? graph_.desc(reader.inputs[1]).shape[3] : src[src.rank() - 1]);
      return;
    }
    for (const ValueId id : reader.inputs) {
      if (graph_.value(id).kind == ValueKind::kParameter || graph_.value(id).kind == ValueKind::kBuffer)
        copy_row(id);
    }
    // Where channels keep their places; the shortcut A, concatenation and slices may move them.
    const bool keeps =
        std::holds_alternative<BatchNormApply>(reader.op) || std::holds_alternative<Bias>(reader.op) ||
        std::holds_alternative<Activation>(reader.op) || std::holds_alternative<Add>(reader.op) ||
        std::holds_alternative<Multiply>(reader.op) || std::holds_alternative<Scale>(reader.op) ||
        std::holds_alternative<MaxPool>(reader.op) || std::holds_alternative<AvgPool>(reader.op) ||
        std::holds_alternative<GlobalAvgPool>(reader.op);
    if (keeps) carriers.insert(reader.outputs[0]);
  }

  /// Row 1 becomes row 0: incoming weights of a unit, or its entry in a vector.
  void copy_row(ValueId id) {
    const TensorDesc& desc = graph_.desc(id);
    const int64_t row = desc.elements() / desc.shape[0];
    edit(id, [&](std::vector<float>& w) { std::copy_n(w.begin(), row, w.begin() + row); });
  }

  /// Of every run of `columns` input channels, channel 1 becomes channel 0.
  void copy_column(ValueId id, int64_t columns) {
    if (columns < 2) return;
    edit(id, [&](std::vector<float>& w) {
      for (size_t i = 0; i < w.size(); i += static_cast<size_t>(columns)) w[i + 1] = w[i];
    });
  }

  template <typename Change>
  void edit(ValueId id, const Change& change) {
    const std::string& name = graph_.value(id).name;
    std::vector<float> values = state_floats(state_, name);
    change(values);
    state_.write(name, std::as_bytes(std::span(values)));
  }

  const Graph& graph_;
  State& state_;
};

TiedUnits::Moment compare(int64_t step, const std::vector<float>& weight, int64_t row) {
  TiedUnits::Moment moment{.step = step};
  double product = 0, first = 0, second = 0;
  for (int64_t i = 0; i < row; ++i) {
    const double a = weight[static_cast<size_t>(i)], b = weight[static_cast<size_t>(row + i)];
    moment.distance = std::max(moment.distance, std::abs(a - b));
    product += a * b;
    first += a * a;
    second += b * b;
  }
  moment.equal = moment.distance == 0;
  moment.cosine = first > 0 && second > 0 ? product / std::sqrt(first * second) : 0;
  return moment;
}

/// The last convolution of a block on its longest way: the one whose output joins the shortcut, or leaves.
Layer last_layer(const Graph& graph, int block, const std::string& model) {
  std::optional<Layer> found;
  const std::optional<Join> join = find_join(graph, block);
  for (const Layer& layer : find_layers(graph)) {
    const Node& node = graph.node(layer.weight_node);
    if (node.block != block || !std::holds_alternative<Conv>(node.op)) continue;
    if (join && layer.normalized != graph.node(join->node).inputs[join->branch]) continue;
    found = layer;
  }
  check(found.has_value(), ErrorKind::kConfig,
        "singularities: in model {} no convolution ends the branch of block {}, so no units can be tied",
        model, graph.blocks[static_cast<size_t>(block)].name);
  return *found;
}

}  // namespace

TiedUnits tied_units(const Subject& subject, const std::string& block, int64_t steps) {
  const SampleBatches one = sample_batches(subject, 1, 1, 0);
  const Graph graph = forward_graph(subject, Mode::kTrain, one);
  check(!graph.blocks.empty(), ErrorKind::kConfig,
        "singularities: model {} has no blocks, so no units can be tied", subject.model);
  const int index = block.empty() ? static_cast<int>(graph.blocks.size() / 2) : block_index(graph, block);
  const Layer layer = last_layer(graph, index, subject.model);
  const ValueId weight = graph.node(layer.weight_node).inputs[1];
  const TensorDesc desc = graph.desc(weight);
  check(desc.shape[0] >= 2, ErrorKind::kConfig, "singularities: layer {} has one unit, two are to be tied",
        layer.name);
  Tie(graph, subject.state).units_of(layer);

  TiedUnits result{layer.name, find_join(graph, index).has_value(), {}};
  const std::string& name = graph.value(weight).name;
  const int64_t row = desc.elements() / desc.shape[0];
  ShortTraining training(subject);
  for (int64_t step = 0; step <= steps; ++step) {
    if (step > 0) training.step();
    result.moments.push_back(compare(step, state_floats(subject.state, name), row));
  }
  return result;
}

}  // namespace residuum
