#include "engine/backend/cpu/fused.h"

#include <map>
#include <set>

namespace residuum::cpu {
namespace {

class Fuser {
 public:
  Fuser(const Graph& graph, const Group& group) : graph_(graph), group_(group) {
    for (size_t i = 0; i < group.nodes.size(); ++i) {
      position_[group.nodes[i]] = i;
      for (ValueId id : graph.node(group.nodes[i]).inputs) ++readers_[id];
    }
    internal_.insert(group.internal.begin(), group.internal.end());
  }

  std::vector<Step> run() {
    std::vector<Step> steps(group_.nodes.size());  // one per node position; absorbed ones keep node == kNone
    for (size_t i = group_.nodes.size(); i-- > 0;) {
      const NodeId id = group_.nodes[i];
      if (absorbed_.contains(id)) continue;
      const Node& node = graph_.node(id);
      if (apply_ending_at(id, steps[i]) || reduce_with_relu(id, steps)) continue;
      steps[i] = {StepKind::kNode, id, false, node.inputs, node.outputs};
    }
    std::erase_if(steps, [](const Step& step) { return step.node == kNone; });
    return steps;
  }

 private:
  template <typename T>
  const T* op(NodeId id) const {
    return id == kNone ? nullptr : std::get_if<T>(&graph_.node(id).op);
  }
  /// The node of this group that makes `value` for one reader alone, kNone when there is none.
  NodeId only_for_me(ValueId value) const {
    const auto count = readers_.find(value);
    const bool sole = internal_.contains(value) && count != readers_.end() && count->second == 1;
    return sole ? graph_.value(value).producer : kNone;
  }

  bool apply_ending_at(NodeId last, Step& step) {
    const bool relu = is_relu(graph_.node(last).op);
    if (!relu && op<Add>(last) == nullptr) return false;
    const NodeId before = relu ? only_for_me(graph_.node(last).inputs[0]) : last;
    if (op<BatchNormApply>(before) != nullptr) {
      take_apply(before, {}, last, relu, step);
      return true;
    }
    if (op<Add>(before) == nullptr) return false;
    const std::vector<ValueId>& addends = graph_.node(before).inputs;
    for (size_t i : {1u, 0u}) {
      const NodeId apply = only_for_me(addends[i]);
      if (op<BatchNormApply>(apply) == nullptr || addends[0] == addends[1]) continue;
      if (relu) absorbed_.insert(before);
      take_apply(apply, {addends[1 - i]}, last, relu, step);
      return true;
    }
    return false;
  }

  void take_apply(NodeId apply, const std::vector<ValueId>& addend, NodeId last, bool relu, Step& step) {
    absorbed_.insert(apply);
    step = {StepKind::kApply, apply, relu, graph_.node(apply).inputs, graph_.node(last).outputs};
    step.inputs.insert(step.inputs.end(), addend.begin(), addend.end());
  }

  /// Puts the step where the ReLU's backward node stands, so that everybody who reads its result finds it.
  bool reduce_with_relu(NodeId reduce, std::vector<Step>& steps) {
    if (op<BatchNormBackwardReduce>(reduce) == nullptr) return false;
    const std::vector<ValueId>& in = graph_.node(reduce).inputs;
    const NodeId relu = graph_.value(in[0]).producer;
    const ActivationBackward* backward = op<ActivationBackward>(relu);
    if (backward == nullptr || backward->kind != ActivationKind::kRelu || !position_.contains(relu))
      return false;
    const size_t at = position_.at(relu);
    const NodeId src = graph_.value(in[1]).producer;
    if (position_.contains(src) && position_.at(src) > at) return false;

    const std::vector<ValueId>& relu_in = graph_.node(relu).inputs;
    Step& step = steps[at];
    step = {StepKind::kReluReduce,
            reduce,
            true,
            {relu_in[0], in[1], in[2], in[3], relu_in[1]},
            graph_.node(reduce).outputs};
    step.outputs.push_back(in[0]);
    const NodeId sum = only_for_me(relu_in[0]);
    if (op<Add>(sum) != nullptr) {
      step.inputs[0] = graph_.node(sum).inputs[0];
      step.inputs.push_back(graph_.node(sum).inputs[1]);
      absorbed_.insert(sum);
    }
    absorbed_.insert(relu);
    return true;
  }

  const Graph& graph_;
  const Group& group_;
  std::map<NodeId, size_t> position_;
  std::map<ValueId, int> readers_;
  std::set<ValueId> internal_;
  std::set<NodeId> absorbed_;
};

}  // namespace

std::vector<Step> fuse_steps(const Graph& graph, const Group& group) {
  return Fuser(graph, group).run();
}

}  // namespace residuum::cpu
