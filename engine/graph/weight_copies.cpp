// The pass that lets convolutions and linear layers read their weights in the type of their activations.
#include <algorithm>
#include <map>
#include <optional>

#include "engine/core/overloaded.h"
#include "engine/graph/passes.h"

namespace residuum {
namespace {

constexpr size_t kWeightInput = 1;  // of every operation that multiplies activations by a weight

/// Which input is the weight, of an operation on the weight of a convolution elsewhere in the graph.
std::optional<size_t> weight_beside(const Op& op) {
  using Input = std::optional<size_t>;
  return std::visit(overloaded{
                        [](const GramStats&) -> Input { return 2; },
                        [](const GramBackwardReduce&) -> Input { return 1; },
                        [](const GramBackwardWeight&) -> Input { return 0; },
                        [](const auto&) -> Input { return std::nullopt; },
                    },
                    op);
}

/// The type of the activations that meet the node's weight; f32 for a node without one.
DType activation_type(const Graph& graph, const Node& node) {
  return std::visit(overloaded{
                        [&](const Conv&) { return graph.desc(node.inputs[0]).dtype; },
                        [&](const ConvBackwardData&) { return graph.desc(node.inputs[0]).dtype; },
                        [&](const Linear&) { return graph.desc(node.inputs[0]).dtype; },
                        [](const LinearBackwardData& op) { return op.src.dtype; },
                        [](const auto&) { return DType::kF32; },
                    },
                    node.op);
}

/// The copies made so far, one for each weight that the optimizer changes.
class Copies {
 public:
  Copies(Graph& graph, const Node& sgd) : graph_(graph) {
    const size_t weights = std::get<SgdUpdate>(sgd.op).weight_decay.size();
    for (size_t i = 0; i < weights; ++i) index_[sgd.inputs[1 + i]] = static_cast<int64_t>(i);
  }

  bool learned(ValueId weight) const { return index_.contains(weight); }
  /// The copy if there is one, else the weight itself.
  ValueId or_weight(ValueId weight) const {
    return graph_.find(std::string(kCopyPrefix) + graph_.value(weight).name).value_or(weight);
  }
  ValueId of(ValueId weight, DType type) {
    const std::string name = std::string(kCopyPrefix) + graph_.value(weight).name;
    if (const auto found = graph_.find(name)) return *found;
    ids.push_back(graph_.add_persistent(name, {type, graph_.desc(weight).shape}, ValueKind::kCopy));
    copy_of.push_back(index_.at(weight));
    return ids.back();
  }

  std::vector<ValueId> ids;
  std::vector<int64_t> copy_of;  ///< index among the optimizer's weights

 private:
  Graph& graph_;
  std::map<ValueId, int64_t> index_;
};

}  // namespace

Graph weight_copies(Graph graph) {
  const auto sgd = std::find_if(graph.nodes.begin(), graph.nodes.end(),
                                [](const Node& node) { return std::holds_alternative<SgdUpdate>(node.op); });
  if (sgd == graph.nodes.end()) return graph;
  Copies copies(graph, *sgd);
  for (Node& node : graph.nodes) {
    const DType type = activation_type(graph, node);
    if (type == DType::kF32 || !copies.learned(node.inputs[kWeightInput])) continue;
    node.inputs[kWeightInput] = copies.of(node.inputs[kWeightInput], type);
  }
  for (Node& node : graph.nodes) {
    if (const auto i = weight_beside(node.op)) node.inputs[*i] = copies.or_weight(node.inputs[*i]);
  }
  sgd->inputs.insert(sgd->inputs.end(), copies.ids.begin(), copies.ids.end());
  std::get<SgdUpdate>(sgd->op).copy_of = copies.copy_of;
  return graph;
}

}  // namespace residuum
