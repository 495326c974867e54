// The pass that lets batch norms see the batches of all ranks. An all-reduce works where its input lies, so
// it is given copies of what others still read.
#include <map>

#include "engine/graph/passes.h"

namespace residuum {
namespace {

class Synchronizer {
 public:
  Synchronizer(Graph graph, int ranks) : graph_(std::move(graph)), ranks_(ranks) {}

  Graph run() {
    const std::vector<Node> old = graph_.nodes;
    graph_.set_nodes({});
    for (const Node& node : old) {
      current_ = &node;
      emit(node);
    }
    std::vector<Node> nodes = std::move(graph_.nodes);
    graph_.set_nodes(std::move(nodes));
    return std::move(graph_);
  }

 private:
  void emit(Node node) {
    for (ValueId& id : node.inputs) {
      if (const auto found = of_all_ranks_.find(id); found != of_all_ranks_.end()) id = found->second;
    }
    if (std::holds_alternative<BatchNormBackwardApply>(node.op)) average_sums(node);
    if (auto* commit = std::get_if<BatchNormCommit>(&node.op)) {
      for (int64_t& count : commit->counts) count *= ranks_;
    }
    graph_.nodes.push_back(node);
    if (std::holds_alternative<BatchNormStats>(node.op)) average_statistics(node);
  }

  std::vector<ValueId> add(Op op, std::vector<ValueId> inputs) {
    return graph_.add_node(current_->name, std::move(op), std::move(inputs), current_->phase,
                           current_->block);
  }
  std::vector<ValueId> average(std::vector<ValueId> values) {
    return add(AllReduce{1.0f / static_cast<float>(ranks_)}, std::move(values));
  }
  ValueId scaled(ValueId id, float factor) { return add(Scale{factor, 0}, {id})[0]; }

  /// variance = mean over ranks of (variance_r + (mean_r - mean)^2).
  void average_statistics(const Node& stats) {
    const ValueId own_mean = stats.outputs[0], own_variance = stats.outputs[1];
    const ValueId mean = average({scaled(own_mean, 1)})[0];
    const ValueId distance = add(Add{}, {own_mean, scaled(mean, -1)})[0];
    const ValueId square = add(Multiply{}, {distance, distance})[0];
    of_all_ranks_[own_mean] = mean;
    of_all_ranks_[own_variance] = average({add(Add{}, {own_variance, square})[0]})[0];
  }

  /// The data gradient divides sums by this rank's pixels: with means over ranks of such sums it has those of
  /// the whole batch.
  void average_sums(Node& apply) {
    constexpr size_t kGamma = 5, kBeta = 6;
    const std::pair<ValueId, ValueId> own{apply.inputs[kGamma], apply.inputs[kBeta]};
    auto found = sums_.find(own);
    if (found == sums_.end()) {
      const std::vector<ValueId> means = average({scaled(own.first, 1), scaled(own.second, 1)});
      found = sums_.emplace(own, std::pair(means[0], means[1])).first;
    }
    apply.inputs[kGamma] = found->second.first;
    apply.inputs[kBeta] = found->second.second;
  }

  Graph graph_;
  int ranks_;
  const Node* current_ = nullptr;
  std::map<ValueId, ValueId> of_all_ranks_;
  std::map<std::pair<ValueId, ValueId>, std::pair<ValueId, ValueId>> sums_;
};

}  // namespace

Graph sync_batch_norm(Graph graph, int ranks) {
  return Synchronizer(std::move(graph), ranks).run();
}

}  // namespace residuum
