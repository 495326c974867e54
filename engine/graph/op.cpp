#include "engine/graph/op.h"

#include "engine/core/overloaded.h"

namespace residuum {
namespace {

std::string_view activation_name(ActivationKind kind, bool backward) {
  switch (kind) {
    case ActivationKind::kRelu:
      return backward ? "relu_backward" : "relu";
    case ActivationKind::kSigmoid:
      return backward ? "sigmoid_backward" : "sigmoid";
    case ActivationKind::kTanh:
      return backward ? "tanh_backward" : "tanh";
  }
  return "?";
}

}  // namespace

Op::Op(const Op&) = default;
Op::Op(Op&&) noexcept = default;
Op& Op::operator=(const Op&) = default;
Op& Op::operator=(Op&&) noexcept = default;
Op::~Op() = default;

std::string_view op_name(const Op& op) {
  using Name = std::string_view;
  return std::visit(
      overloaded{
          [](const CropFlip&) -> Name { return "crop_flip"; },
          [](const Normalize&) -> Name { return "normalize"; },
          [](const Conv&) -> Name { return "conv"; },
          [](const Bias&) -> Name { return "bias"; },
          [](const BatchNormStats&) -> Name { return "batch_norm_stats"; },
          [](const BatchNormApply&) -> Name { return "batch_norm_apply"; },
          [](const Activation& a) -> Name { return activation_name(a.kind, false); },
          [](const ReluMask&) -> Name { return "relu_mask"; },
          [](const Add&) -> Name { return "add"; },
          [](const Multiply&) -> Name { return "multiply"; },
          [](const Scale&) -> Name { return "scale"; },
          [](const ShortcutA&) -> Name { return "shortcut_a"; },
          [](const Concat&) -> Name { return "concat"; },
          [](const Slice&) -> Name { return "slice"; },
          [](const MaxPool&) -> Name { return "max_pool"; },
          [](const AvgPool&) -> Name { return "avg_pool"; },
          [](const GlobalAvgPool&) -> Name { return "global_avg_pool"; },
          [](const Linear&) -> Name { return "linear"; },
          [](const Dropout&) -> Name { return "dropout"; },
          [](const BlockGate&) -> Name { return "block_gate"; },
          [](const SoftmaxCrossEntropy&) -> Name { return "softmax_cross_entropy"; },
          [](const ConvBackwardData&) -> Name { return "conv_backward_data"; },
          [](const ConvBackwardFilter&) -> Name { return "conv_backward_filter"; },
          [](const BiasBackward&) -> Name { return "bias_backward"; },
          [](const BatchNormBackwardReduce&) -> Name { return "batch_norm_backward_reduce"; },
          [](const BatchNormBackwardApply&) -> Name { return "batch_norm_backward_apply"; },
          [](const BatchNormFrozenBackward&) -> Name { return "batch_norm_frozen_backward"; },
          [](const ActivationBackward& a) -> Name { return activation_name(a.kind, true); },
          [](const ReluMaskBackward&) -> Name { return "relu_mask_backward"; },
          [](const ShortcutABackward&) -> Name { return "shortcut_a_backward"; },
          [](const SliceBackward&) -> Name { return "slice_backward"; },
          [](const MaxPoolBackward&) -> Name { return "max_pool_backward"; },
          [](const AvgPoolBackward&) -> Name { return "avg_pool_backward"; },
          [](const GlobalAvgPoolBackward&) -> Name { return "global_avg_pool_backward"; },
          [](const LinearBackwardData&) -> Name { return "linear_backward_data"; },
          [](const LinearBackwardFilter&) -> Name { return "linear_backward_filter"; },
          [](const SoftmaxCrossEntropyBackward&) -> Name { return "softmax_cross_entropy_backward"; },
          [](const Gram&) -> Name { return "gram"; },
          [](const GramStats&) -> Name { return "gram_stats"; },
          [](const GramBackwardReduce&) -> Name { return "gram_backward_reduce"; },
          [](const GramBackwardFilter&) -> Name { return "gram_backward_filter"; },
          [](const GramBackwardWeight&) -> Name { return "gram_backward_weight"; },
          [](const GradientNorm&) -> Name { return "gradient_norm"; },
          [](const AccumulateGradient&) -> Name { return "accumulate_gradient"; },
          [](const AllReduce&) -> Name { return "all_reduce"; },
          [](const SgdUpdate&) -> Name { return "sgd_update"; },
          [](const EmaUpdate&) -> Name { return "ema_update"; },
          [](const BatchNormCommit&) -> Name { return "batch_norm_commit"; },
      },
      op);
}

OpDomain op_domain(const Op& op) {
  return std::visit(overloaded{
                        [](const BatchNormStats&) { return OpDomain::kBatchReduce; },
                        [](const SoftmaxCrossEntropy&) { return OpDomain::kBatchReduce; },
                        [](const ConvBackwardFilter&) { return OpDomain::kBatchReduce; },
                        [](const BiasBackward&) { return OpDomain::kBatchReduce; },
                        [](const BatchNormBackwardReduce&) { return OpDomain::kBatchReduce; },
                        [](const LinearBackwardFilter&) { return OpDomain::kBatchReduce; },
                        [](const Gram&) { return OpDomain::kBatchReduce; },
                        [](const GramStats&) { return OpDomain::kWhole; },
                        [](const GramBackwardReduce&) { return OpDomain::kWhole; },
                        [](const GramBackwardFilter&) { return OpDomain::kWhole; },
                        [](const GramBackwardWeight&) { return OpDomain::kWhole; },
                        [](const GradientNorm&) { return OpDomain::kWhole; },
                        [](const AccumulateGradient&) { return OpDomain::kWhole; },
                        [](const AllReduce&) { return OpDomain::kWhole; },
                        [](const SgdUpdate&) { return OpDomain::kWhole; },
                        [](const EmaUpdate&) { return OpDomain::kWhole; },
                        [](const BatchNormCommit&) { return OpDomain::kWhole; },
                        [](const auto&) { return OpDomain::kBatchMap; },
                    },
                    op);
}

bool reads_batch(const Op& op, size_t i) {
  if (op_domain(op) == OpDomain::kWhole) return false;
  return std::visit(overloaded{
                        [&](const ConvBackwardFilter&) { return true; },
                        [&](const LinearBackwardFilter&) { return true; },
                        [&](const BatchNormBackwardReduce&) { return i < 2; },
                        [&](const BatchNormBackwardApply&) { return i < 2; },
                        [&](const Conv&) { return i < 1; },
                        [&](const Bias&) { return i < 1; },
                        [&](const BatchNormApply&) { return i < 1; },
                        [&](const BatchNormFrozenBackward&) { return i < 1; },
                        [&](const ConvBackwardData&) { return i < 1; },
                        [&](const Linear&) { return i < 1; },
                        [&](const LinearBackwardData&) { return i < 1; },
                        [](const auto&) { return true; },
                    },
                    op);
}

bool is_relu(const Op& op) {
  const auto* activation = std::get_if<Activation>(&op);
  return activation != nullptr && activation->kind == ActivationKind::kRelu;
}

bool is_cheap(const Op& op) {
  return std::visit(overloaded{
                        [](const BatchNormApply&) { return true; },
                        [](const Activation&) { return true; },
                        [](const Bias&) { return true; },
                        [](const Scale&) { return true; },
                        [](const Dropout&) { return true; },
                        [](const BlockGate&) { return true; },
                        [](const auto&) { return false; },
                    },
                    op);
}

}  // namespace residuum
