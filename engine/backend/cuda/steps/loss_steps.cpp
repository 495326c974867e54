// Softmax cross-entropy over f32 logits.
#include "engine/backend/cuda/steps/steps.h"

namespace residuum::cuda {

Step make_step(const StepSource& source, const SoftmaxCrossEntropy& op) {
  const int64_t n = source.in(0).shape[0], k = source.in(0).shape[1];
  const size_t workspace = kernels::softmax_cross_entropy_workspace(n);
  return source.step(
      [=](const Bound& b) {
        kernels::softmax_cross_entropy(n, k, op.smoothing, as<float>(b.in[0]), as<int32_t>(b.in[1]),
                                       as<float>(b.out[0]), as<int32_t>(b.out[1]), b.scratch, b.counter,
                                       b.stream);
      },
      workspace, ordered_sum(workspace));
}

Step make_step(const StepSource& source, const SoftmaxCrossEntropyBackward& op) {
  const int64_t n = source.in(0).shape[0], k = source.in(0).shape[1];
  return source.step([=](const Bound& b) {
    kernels::softmax_cross_entropy_backward(n, k, op.smoothing, op.scale, as<float>(b.in[0]),
                                            as<int32_t>(b.in[1]), as<float>(b.out[0]), b.stream);
  });
}

Step make_loss_step(const Graph& graph, const Fused& fused, const StepOptions& options) {
  const StepSource source{graph, *part<SoftmaxCrossEntropy>(graph, fused), options};
  const Node& gradient = *part<SoftmaxCrossEntropyBackward>(graph, fused);
  const int64_t n = source.in(0).shape[0], k = source.in(0).shape[1];
  const auto& op = std::get<SoftmaxCrossEntropyBackward>(gradient.op);
  const size_t workspace = kernels::softmax_cross_entropy_workspace(n);
  Step step = source.step(
      [=](const Bound& b) {
        kernels::softmax_cross_entropy_step(n, k, op.smoothing, op.scale, as<float>(b.in[0]),
                                            as<int32_t>(b.in[1]), as<float>(b.out[0]), as<int32_t>(b.out[1]),
                                            as<float>(b.out[2]), b.scratch, b.counter, b.stream);
      },
      workspace, ordered_sum(workspace));
  step.outputs.push_back(gradient.outputs[0]);
  return step;
}

}  // namespace residuum::cuda
