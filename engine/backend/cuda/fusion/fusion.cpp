#include "engine/backend/cuda/fusion/fusion.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "engine/backend/cuda/fusion/fusion_conv.h"

namespace residuum::cuda {
namespace {

constexpr size_t kLongest = 5;

// Names of fusion_kinds().
constexpr const char *kAugmentation = "augmentation", *kBatchNorm = "batch_norm",
                     *kBatchNormGradient = "batch_norm_gradient", *kLossStep = "loss",
                     *kOptimizer = "optimizer";

/// Operations in the order of their nodes; shorter sequences end in empty names.
struct Pattern {
  const char* name;
  FusedKind kind;
  std::array<std::string_view, kLongest> ops;

  size_t length() const {
    return static_cast<size_t>(std::find(ops.begin(), ops.end(), std::string_view()) - ops.begin());
  }
};

/// Longest first among those with one beginning. "batch_norm_apply, relu" in the middle of a gradient is what
/// the rematerialize pass repeats there: the kernel computes the ReLU's gate instead.
constexpr Pattern kPatterns[] = {
    {kAugmentation, FusedKind::kWindow, {"crop_flip", "normalize"}},
    {kBatchNorm, FusedKind::kApply, {"batch_norm_apply", "relu", "max_pool"}},
    {kBatchNorm, FusedKind::kApply, {"batch_norm_apply", "add", "relu"}},
    {kBatchNorm, FusedKind::kApply, {"batch_norm_apply", "add", "relu_mask"}},
    {kBatchNormGradient,
     FusedKind::kReduce,
     {"max_pool_backward", "batch_norm_apply", "relu", "relu_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient,
     FusedKind::kReduce,
     {"max_pool_backward", "relu_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient,
     FusedKind::kReduce,
     {"max_pool_backward", "relu_mask_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient, FusedKind::kReduce, {"max_pool_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient,
     FusedKind::kReduce,
     {"global_avg_pool_backward", "batch_norm_apply", "relu", "relu_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient,
     FusedKind::kReduce,
     {"global_avg_pool_backward", "relu_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient,
     FusedKind::kReduce,
     {"global_avg_pool_backward", "relu_mask_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient,
     FusedKind::kReduce,
     {"add", "batch_norm_apply", "relu", "relu_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient, FusedKind::kReduce, {"add", "relu_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient, FusedKind::kReduce, {"add", "relu_mask_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient, FusedKind::kReduce, {"add", "batch_norm_backward_reduce"}},
    {kBatchNormGradient,
     FusedKind::kReduce,
     {"batch_norm_apply", "relu", "relu_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient, FusedKind::kReduce, {"relu_backward", "batch_norm_backward_reduce"}},
    {kBatchNormGradient, FusedKind::kReduce, {"relu_mask_backward", "batch_norm_backward_reduce"}},
    {kBatchNorm, FusedKind::kApply, {"batch_norm_apply", "add"}},
    {kBatchNorm, FusedKind::kApply, {"batch_norm_apply", "relu"}},
    {kBatchNorm, FusedKind::kApply, {"batch_norm_apply", "relu_mask"}},
    {kBatchNormGradient, FusedKind::kBackwardApply, {"batch_norm_backward_apply", "add"}},
    {kOptimizer, FusedKind::kUpdate, {"sgd_update", "batch_norm_commit"}},
    {kLossStep, FusedKind::kLoss, {"softmax_cross_entropy", "softmax_cross_entropy_backward"}},
};

bool names_match(const Graph& graph, NodeId first, const Pattern& pattern) {
  const size_t begin = static_cast<size_t>(first), length = pattern.length();
  if (begin + length > graph.nodes.size()) return false;
  for (size_t i = 0; i < length; ++i) {
    if (op_name(graph.nodes[begin + i].op) != pattern.ops[i]) return false;
  }
  return true;
}

/// Each node reads the result of the one before, once, and nobody else does.
bool is_chain(const Matching& m, const Fused& fused) {
  for (NodeId id = fused.first + 1; id < fused.end(); ++id) {
    const ValueId before = m.graph.node(id - 1).outputs[0];
    const std::vector<ValueId>& inputs = m.graph.node(id).inputs;
    if (std::count(inputs.begin(), inputs.end(), before) != 1 || !m.only(before, id)) return false;
  }
  return true;
}

/// The gradient runs through the nodes into the reduction. What enters the reduction may have other readers
/// (the kernel stores it for them); what comes before, and what is repeated for the gate, may not.
bool is_gradient(const Matching& m, const Fused& fused) {
  const Graph& graph = m.graph;
  const auto escapes = [&](ValueId value) { return m.escapes(value, fused.first, fused.end(), false); };
  const Node& reduce = *part<BatchNormBackwardReduce>(graph, fused);
  const Node* gate = part<ActivationBackward, ReluMaskBackward>(graph, fused);
  const Node* start = part<Add, MaxPoolBackward, GlobalAvgPoolBackward>(graph, fused);
  if (gate != nullptr && gate->outputs[0] != reduce.inputs[0]) return false;
  if (start != nullptr) {
    const ValueId wanted = gate != nullptr ? gate->inputs[0] : reduce.inputs[0];
    if (start->outputs[0] != wanted) return false;
    if (gate != nullptr && escapes(wanted)) return false;
  }
  const Node* relu = part<Activation>(graph, fused);
  if (relu == nullptr) return true;
  const Node* apply = part<BatchNormApply>(graph, fused);
  return gate->inputs[1] == relu->outputs[0] && normalised_by(graph, relu->outputs[0], reduce) == apply &&
         !escapes(relu->outputs[0]) && !escapes(apply->outputs[0]);
}

/// The loss and its gradient of the same logits and labels.
bool is_loss(const Matching& m, const Fused& fused) {
  const Node &loss = m.graph.node(fused.first), &gradient = m.graph.node(fused.first + 1);
  return loss.inputs == gradient.inputs && std::get<SoftmaxCrossEntropy>(loss.op).smoothing ==
                                               std::get<SoftmaxCrossEntropyBackward>(gradient.op).smoothing;
}

bool fits(const Matching& m, const Fused& fused) {
  switch (fused.kind) {
    case FusedKind::kReduce:
      return is_gradient(m, fused);
    case FusedKind::kLoss:
      return is_loss(m, fused);
    case FusedKind::kUpdate:
      return m.graph.node(fused.first).inputs[0] == m.graph.node(fused.first + 1).inputs[0];  // the norm
    default:
      return is_chain(m, fused);
  }
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

std::vector<FusionKind> fusion_kinds() {
  std::vector<FusionKind> kinds = {
      {kAugmentation, "crop, flip and normalise images in one launch"},
      {kBatchNorm, "batch norm with residual addition, ReLU and the stem's pool"},
      {kBatchNormGradient, "gradient sums of a batch norm with pool, residual addition and ReLU gate"},
      {kLossStep, "the loss and its gradient in one launch"},
      {kOptimizer, "the optimizer and the running statistics in one launch"}};
  for (FusionKind& kind : conv_fusion_kinds()) kinds.push_back(std::move(kind));
  return kinds;
}

Fused fused_at(const Matching& matching, NodeId first, size_t limit) {
  if (const size_t length = length_of(conv_parts(matching, first, limit)); length > 0)
    return {FusedKind::kConv, first, length};
  for (const Pattern& pattern : kPatterns) {
    const Fused fused{pattern.kind, first, pattern.length()};
    if (fused.length > limit || !matching.allows(pattern.name)) continue;
    if (names_match(matching.graph, first, pattern) && fits(matching, fused)) return fused;
  }
  return {FusedKind::kNode, first, 1};
}

std::vector<Group> cuda_groups(const Graph& graph, const std::set<std::string>& off) {
  const Readers readers(graph);
  const Matching matching{graph, off, &readers};
  std::vector<size_t> lengths;
  for (size_t n = 0; n < graph.nodes.size(); n += lengths.back())
    lengths.push_back(fused_at(matching, static_cast<NodeId>(n), graph.nodes.size() - n).length);
  return make_groups(graph, lengths);
}

}  // namespace residuum::cuda
