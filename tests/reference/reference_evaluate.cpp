// From an operation of the graph to its reference: one line per alternative of Op, so that a new operation
// without a reference does not compile.
#include "tests/reference/reference.h"

namespace residuum::reference {
namespace {

using In = std::span<Tensor* const>;

std::vector<const Tensor*> constants(In in) {
  return {in.begin(), in.end()};
}

struct Evaluate {
  In in;
  const StepParams& params;

  const Tensor& at(size_t i) const { return *in[i]; }

  Tensors operator()(const CropFlip& op) const { return {crop_flip(op, at(0), at(1))}; }
  Tensors operator()(const Normalize& op) const { return {normalize(op, at(0))}; }
  Tensors operator()(const Conv& op) const { return {conv(op, at(0), at(1))}; }
  Tensors operator()(const Bias&) const { return {bias(at(0), at(1))}; }
  Tensors operator()(const BatchNormStats&) const { return batch_norm_stats(at(0)); }
  Tensors operator()(const BatchNormApply& op) const {
    return {batch_norm_apply(op.epsilon, at(0), at(1), at(2), at(3), at(4))};
  }
  Tensors operator()(const Activation& op) const { return {activation(op.kind, at(0))}; }
  Tensors operator()(const ReluMask&) const { return relu_mask(at(0)); }
  Tensors operator()(const Add&) const { return {add(at(0), at(1))}; }
  Tensors operator()(const Multiply&) const { return {multiply(at(0), at(1))}; }
  Tensors operator()(const Scale& op) const { return {scale(op, at(0))}; }
  Tensors operator()(const ShortcutA& op) const { return {shortcut_a(op, at(0))}; }
  Tensors operator()(const Concat&) const { return {concat(constants(in))}; }
  Tensors operator()(const Slice& op) const { return {slice(op, at(0))}; }
  Tensors operator()(const MaxPool& op) const { return max_pool(op, at(0)); }
  Tensors operator()(const AvgPool& op) const { return {avg_pool(op, at(0))}; }
  Tensors operator()(const GlobalAvgPool&) const { return {global_avg_pool(at(0))}; }
  Tensors operator()(const Linear&) const { return {linear(at(0), at(1))}; }
  Tensors operator()(const Dropout& op) const { return {dropout(op, at(0), params)}; }
  Tensors operator()(const BlockGate& op) const { return {block_gate(op, at(0), params)}; }
  Tensors operator()(const SoftmaxCrossEntropy& op) const {
    return softmax_cross_entropy(op.smoothing, at(0), at(1));
  }

  Tensors operator()(const ConvBackwardData& op) const {
    return {conv_backward_data(op.shape, at(0), at(1))};
  }
  Tensors operator()(const ConvBackwardFilter& op) const {
    return {conv_backward_filter(op.shape, at(0), at(1))};
  }
  Tensors operator()(const BiasBackward&) const { return {bias_backward(at(0))}; }
  Tensors operator()(const BatchNormBackwardReduce& op) const {
    return batch_norm_backward_reduce(op.epsilon, at(0), at(1), at(2), at(3));
  }
  Tensors operator()(const BatchNormBackwardApply& op) const {
    return {batch_norm_backward_apply(op.epsilon, at(0), at(1), at(2), at(3), at(4), at(5), at(6))};
  }
  Tensors operator()(const BatchNormFrozenBackward& op) const {
    return {batch_norm_frozen_backward(op.epsilon, at(0), at(2), at(3))};
  }
  Tensors operator()(const ActivationBackward& op) const {
    return {activation_backward(op.kind, at(0), at(1))};
  }
  Tensors operator()(const ReluMaskBackward&) const { return {relu_mask_backward(at(0), at(1))}; }
  Tensors operator()(const ShortcutABackward& op) const {
    return {shortcut_a_backward(op.forward, at(0), op.src)};
  }
  Tensors operator()(const SliceBackward& op) const { return {slice_backward(op.forward, at(0), op.src)}; }
  Tensors operator()(const MaxPoolBackward& op) const { return {max_pool_backward(op.shape, at(0), at(1))}; }
  Tensors operator()(const AvgPoolBackward& op) const { return {avg_pool_backward(op.shape, at(0))}; }
  Tensors operator()(const GlobalAvgPoolBackward& op) const {
    return {global_avg_pool_backward(at(0), op.src)};
  }
  Tensors operator()(const LinearBackwardData& op) const {
    return {linear_backward_data(at(0), at(1), op.src.shape)};
  }
  Tensors operator()(const LinearBackwardFilter&) const { return {linear_backward_filter(at(0), at(1))}; }
  Tensors operator()(const SoftmaxCrossEntropyBackward& op) const {
    return {softmax_cross_entropy_backward(op, at(0), at(1))};
  }

  Tensors operator()(const Gram&) const { return gram(at(0)); }
  Tensors operator()(const GramStats& op) const { return gram_stats(op, at(0), at(1), at(2)); }
  Tensors operator()(const GramBackwardReduce& op) const { return {gram_backward_reduce(op, constants(in))}; }
  Tensors operator()(const GramBackwardFilter& op) const { return {gram_backward_filter(op, constants(in))}; }
  Tensors operator()(const GramBackwardWeight& op) const { return gram_backward_weight(op, constants(in)); }

  Tensors operator()(const GradientNorm&) const { return {gradient_norm(constants(in))}; }
  Tensors operator()(const AccumulateGradient& op) const {
    return accumulate_gradient(op, in, params), Tensors{};
  }
  Tensors operator()(const AllReduce& op) const { return all_reduce(op, constants(in)); }
  Tensors operator()(const SgdUpdate& op) const { return sgd_update(op, in, params), Tensors{}; }
  Tensors operator()(const EmaUpdate& op) const { return ema_update(op, in), Tensors{}; }
  Tensors operator()(const BatchNormCommit& op) const { return batch_norm_commit(op, in), Tensors{}; }
};

}  // namespace

Tensors evaluate(const Op& op, In in, const StepParams& params) {
  return std::visit(Evaluate{in, params}, op);
}

}  // namespace residuum::reference
