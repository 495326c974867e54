#include "engine/backend/cuda/fusion.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace residuum::cuda {
namespace {

constexpr size_t kLongest = 5;

/// Operations in the order of their nodes; shorter sequences end in empty names.
struct Pattern {
  FusedKind kind;
  std::array<std::string_view, kLongest> ops;

  size_t length() const {
    return static_cast<size_t>(std::find(ops.begin(), ops.end(), std::string_view()) - ops.begin());
  }
};

/// Longest first among those with one beginning. "batch_norm_apply, relu" in the middle of a gradient is what
/// the rematerialize pass repeats there: the kernel computes the ReLU's gate instead.
constexpr Pattern kPatterns[] = {
    {FusedKind::kWindow, {"crop_flip", "normalize"}},
    {FusedKind::kApply, {"batch_norm_apply", "relu", "max_pool"}},
    {FusedKind::kApply, {"batch_norm_apply", "add", "relu"}},
    {FusedKind::kApply, {"batch_norm_apply", "add", "relu_mask"}},
    {FusedKind::kReduce,
     {"max_pool_backward", "batch_norm_apply", "relu", "relu_backward", "batch_norm_backward_reduce"}},
    {FusedKind::kReduce, {"max_pool_backward", "relu_backward", "batch_norm_backward_reduce"}},
    {FusedKind::kReduce, {"max_pool_backward", "relu_mask_backward", "batch_norm_backward_reduce"}},
    {FusedKind::kReduce, {"max_pool_backward", "batch_norm_backward_reduce"}},
    {FusedKind::kReduce, {"add", "batch_norm_apply", "relu", "relu_backward", "batch_norm_backward_reduce"}},
    {FusedKind::kReduce, {"add", "relu_backward", "batch_norm_backward_reduce"}},
    {FusedKind::kReduce, {"add", "relu_mask_backward", "batch_norm_backward_reduce"}},
    {FusedKind::kReduce, {"add", "batch_norm_backward_reduce"}},
    {FusedKind::kReduce, {"batch_norm_apply", "relu", "relu_backward", "batch_norm_backward_reduce"}},
    {FusedKind::kReduce, {"relu_backward", "batch_norm_backward_reduce"}},
    {FusedKind::kReduce, {"relu_mask_backward", "batch_norm_backward_reduce"}},
    {FusedKind::kApply, {"batch_norm_apply", "add"}},
    {FusedKind::kApply, {"batch_norm_apply", "relu"}},
    {FusedKind::kApply, {"batch_norm_apply", "relu_mask"}},
};

bool names_match(const Graph& graph, NodeId first, const Pattern& pattern) {
  const size_t begin = static_cast<size_t>(first), length = pattern.length();
  if (begin + length > graph.nodes.size()) return false;
  for (size_t i = 0; i < length; ++i) {
    if (op_name(graph.nodes[begin + i].op) != pattern.ops[i]) return false;
  }
  return true;
}

/// True when `value` is an output of the graph or read by a node outside the sequence.
bool escapes(const Graph& graph, const Fused& fused, ValueId value) {
  for (const auto& [name, id] : graph.outputs) {
    if (id == value) return true;
  }
  for (size_t n = static_cast<size_t>(fused.first) + 1; n < graph.nodes.size(); ++n) {
    if (fused.contains(static_cast<NodeId>(n))) continue;
    const std::vector<ValueId>& inputs = graph.nodes[n].inputs;
    if (std::find(inputs.begin(), inputs.end(), value) != inputs.end()) return true;
  }
  return false;
}

/// Each node reads the result of the one before, once, and nobody else does.
bool is_chain(const Graph& graph, const Fused& fused) {
  for (size_t i = 1; i < fused.length; ++i) {
    const NodeId id = fused.first + static_cast<NodeId>(i);
    const ValueId before = graph.node(id - 1).outputs[0];
    const std::vector<ValueId>& inputs = graph.node(id).inputs;
    if (std::count(inputs.begin(), inputs.end(), before) != 1 || escapes(graph, fused, before)) return false;
  }
  return true;
}

/// The gradient runs through the nodes into the reduction. What enters the reduction may have other readers
/// (the kernel stores it for them); what comes before, and what is repeated for the gate, may not.
bool is_gradient(const Graph& graph, const Fused& fused) {
  const Node& reduce = *part<BatchNormBackwardReduce>(graph, fused);
  const Node* gate = part<ActivationBackward, ReluMaskBackward>(graph, fused);
  const Node* start = part<Add, MaxPoolBackward>(graph, fused);
  if (gate != nullptr && gate->outputs[0] != reduce.inputs[0]) return false;
  if (start != nullptr) {
    const ValueId wanted = gate != nullptr ? gate->inputs[0] : reduce.inputs[0];
    if (start->outputs[0] != wanted) return false;
    if (gate != nullptr && escapes(graph, fused, wanted)) return false;
  }
  const Node* relu = part<Activation>(graph, fused);
  if (relu == nullptr) return true;
  const Node* apply = part<BatchNormApply>(graph, fused);
  return gate->inputs[1] == relu->outputs[0] && normalised_by(graph, relu->outputs[0], reduce) == apply &&
         !escapes(graph, fused, relu->outputs[0]) && !escapes(graph, fused, apply->outputs[0]);
}

/// The node that made `value` if its operation is called `name`.
const Node* producer(const Graph& graph, ValueId value, std::string_view name) {
  const NodeId id = graph.value(value).producer;
  return id != kNone && op_name(graph.node(id).op) == name ? &graph.node(id) : nullptr;
}

}  // namespace

const Node* normalised_by(const Graph& graph, ValueId dst, const Node& reduce) {
  const Node* relu = producer(graph, dst, "relu");
  const Node* apply = relu == nullptr ? nullptr : producer(graph, relu->inputs[0], "batch_norm_apply");
  if (apply == nullptr) return nullptr;
  const bool same =
      std::equal(apply->inputs.begin(), apply->inputs.begin() + 3, reduce.inputs.begin() + 1) &&
      std::get<BatchNormApply>(apply->op).epsilon == std::get<BatchNormBackwardReduce>(reduce.op).epsilon;
  return same ? apply : nullptr;
}

Fused fused_at(const Graph& graph, NodeId first, size_t limit) {
  for (const Pattern& pattern : kPatterns) {
    const Fused fused{pattern.kind, first, pattern.length()};
    if (fused.length > limit || !names_match(graph, first, pattern)) continue;
    if (fused.kind == FusedKind::kReduce ? is_gradient(graph, fused) : is_chain(graph, fused)) return fused;
  }
  return {FusedKind::kNode, first, 1};
}

}  // namespace residuum::cuda
