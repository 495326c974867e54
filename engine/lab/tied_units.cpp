#include "engine/lab/tied_units.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <type_traits>

#include "engine/core/check.h"
#include "engine/lab/short_training.h"
#include "engine/lab/structure.h"

namespace residuum {
namespace {

int64_t channels_of(const Graph& graph, ValueId id) {
  const Shape& shape = graph.desc(id).shape;
  return shape[shape.rank() - 1];
}

/// Whether a node leaves every channel of its input where it is, and mixes none.
bool keeps_channels(const Op& op) {
  return std::visit(
      [](const auto& o) {
        using T = std::decay_t<decltype(o)>;
        return std::is_same_v<T, BatchNormApply> || std::is_same_v<T, Bias> ||
               std::is_same_v<T, Activation> || std::is_same_v<T, Add> || std::is_same_v<T, Multiply> ||
               std::is_same_v<T, Scale> || std::is_same_v<T, Dropout> || std::is_same_v<T, BlockGate> ||
               std::is_same_v<T, MaxPool> || std::is_same_v<T, AvgPool> || std::is_same_v<T, GlobalAvgPool>;
      },
      op);
}

/// Makes two units of a layer one and the same, in the state.
class Tie {
 public:
  Tie(const Graph& graph, State& state) : graph_(graph), state_(state) {}

  /// Ties units 0 and 1 of `layers`: what makes them, and everything that reads them as channels.
  void units_of(const std::vector<NodeId>& layers) {
    for (const NodeId id : layers) {
      copy_row(graph_.node(id).inputs[1], 0);
      pairs_[graph_.node(id).outputs[0]] = {0};
    }
    for (const Node& reader : graph_.nodes) {
      if (reader.phase == Phase::kForward) follow(reader);
    }
  }

 private:
  void follow(const Node& reader) {
    int64_t before = 0;  // channels of the parts of a concatenation
    for (const ValueId input : reader.inputs) {
      if (const auto found = pairs_.find(input); found != pairs_.end()) {
        for (const int64_t channel : std::set<int64_t>(found->second)) read_pair(reader, channel, before);
      }
      if (std::holds_alternative<Concat>(reader.op)) before += channels_of(graph_, input);
    }
  }

  /// `reader` reads a tied pair in channels `channel` and the next; `before`: see follow().
  void read_pair(const Node& reader, int64_t channel, int64_t before) {
    if (has_weights(reader.op)) {
      const bool conv = std::holds_alternative<Conv>(reader.op);
      const int64_t columns =
          conv ? graph_.desc(reader.inputs[1]).shape[3] : channels_of(graph_, reader.inputs[0]);
      copy_column(reader.inputs[1], columns, channel % columns);
      return;
    }
    for (const ValueId id : reader.inputs) {
      const ValueKind kind = graph_.value(id).kind;
      if (kind == ValueKind::kParameter || kind == ValueKind::kBuffer) copy_row(id, channel);
    }
    // The shortcut A and slices may move channels: behind them nothing is tied.
    if (std::holds_alternative<Concat>(reader.op) || keeps_channels(reader.op)) {
      pairs_[reader.outputs[0]].insert(before + channel);
    }
  }

  /// Row `row` + 1 becomes row `row`: incoming weights of a unit, or its entry in a vector.
  void copy_row(ValueId id, int64_t row) {
    const TensorDesc& desc = graph_.desc(id);
    const int64_t length = desc.elements() / desc.shape[0];
    edit(id, [&](std::vector<float>& w) {
      const auto from = w.begin() + row * length;
      std::copy_n(from, length, from + length);
    });
  }

  /// Of every run of `columns` input channels, channel `column` + 1 becomes channel `column`.
  void copy_column(ValueId id, int64_t columns, int64_t column) {
    if (column + 1 >= columns) return;
    edit(id, [&](std::vector<float>& w) {
      for (auto i = static_cast<size_t>(column); i < w.size(); i += static_cast<size_t>(columns)) {
        w[i + 1] = w[i];
      }
    });
  }

  template <typename Change>
  void edit(ValueId id, const Change& change) {
    const std::string& name = graph_.value(id).name;
    std::vector<float> values = state_.read_floats(name);
    change(values);
    state_.write(name, std::as_bytes(std::span(values)));
  }

  const Graph& graph_;
  State& state_;
  std::map<ValueId, std::set<int64_t>> pairs_;  ///< the first channel of each tied pair of a value
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

/// The layers of a block whose units become the channels of `value` one by one, gates last: a highway layer's
/// transform gate is as much part of a unit as its weights.
void add_ends(const Graph& graph, int block, ValueId value, bool gate, std::vector<NodeId>& layers,
              std::vector<NodeId>& gates) {
  const NodeId producer = graph.value(value).producer;
  if (producer == kNone || graph.node(producer).block != block) return;
  const Node& node = graph.node(producer);
  if (has_weights(node.op)) {
    std::vector<NodeId>& found = gate ? gates : layers;
    if (std::ranges::find(found, producer) == found.end()) found.push_back(producer);
  }
  if (!std::holds_alternative<Concat>(node.op) && !keeps_channels(node.op)) return;
  const bool is_gate = gate || node.name.ends_with(".transform") || node.name.ends_with(".carry");
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (reads_batch(node.op, i)) add_ends(graph, block, node.inputs[i], is_gate, layers, gates);
  }
}

/// The layers that end the branch of a block, or the block.
std::vector<NodeId> last_layers(const Graph& graph, int block, const std::string& model) {
  const Block& place = graph.blocks[static_cast<size_t>(block)];
  const std::optional<Join> join = find_join(graph, block);
  std::vector<NodeId> layers, gates;
  add_ends(graph, block, join ? graph.node(join->node).inputs[join->branch] : place.output, false, layers,
           gates);
  check(!layers.empty(), ErrorKind::kConfig,
        "singularities: in model {} no layer with weights ends block {}, so no units can be tied", model,
        place.name);
  layers.insert(layers.end(), gates.begin(), gates.end());
  return layers;
}

}  // namespace

TiedUnits tied_units(const Subject& subject, const std::string& block, int64_t steps) {
  const SampleBatches one = sample_batches(subject, 1, 1, 0);
  const Graph graph = forward_graph(subject, Mode::kTrain, one);
  check(!graph.blocks.empty(), ErrorKind::kConfig,
        "singularities: model {} has no blocks, so no units can be tied", subject.model);
  const int index = block.empty() ? static_cast<int>(graph.blocks.size() / 2) : block_index(graph, block);
  const std::vector<NodeId> layers = last_layers(graph, index, subject.model);
  const Node& layer = graph.node(layers.front());
  const ValueId weight = layer.inputs[1];
  const TensorDesc desc = graph.desc(weight);
  check(desc.shape[0] >= 2, ErrorKind::kConfig, "singularities: layer {} has one unit, two are to be tied",
        layer.name);
  Tie(graph, subject.state).units_of(layers);

  TiedUnits result{layer.name, find_join(graph, index).has_value(), {}};
  const std::string& name = graph.value(weight).name;
  const int64_t row = desc.elements() / desc.shape[0];
  ShortTraining training(subject);
  for (int64_t step = 0; step <= steps; ++step) {
    if (step > 0) training.step();
    result.moments.push_back(compare(step, subject.state.read_floats(name), row));
  }
  return result;
}

}  // namespace residuum
