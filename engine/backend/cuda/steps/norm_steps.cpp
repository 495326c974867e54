// Batch normalisation: single nodes, and the sequences of fusion.h, which read only what their kernels read.
#include "engine/backend/cuda/steps/steps.h"

namespace residuum::cuda {
namespace {

using kernels::BatchNormVectors;
using kernels::Gate;
using kernels::Rows;

/// Mean, variance, gamma and beta at positions 1 to 4, as batch_norm_apply has them.
BatchNormVectors apply_vectors(const Bound& b, float epsilon) {
  return {as<float>(b.in[1]), as<float>(b.in[2]), as<float>(b.in[3]), as<float>(b.in[4]), epsilon};
}

/// batch_norm_apply -> relu -> max_pool; the pool's source is never stored.
Step pooled_apply_step(const Graph& graph, const Node& apply, const Node& pool, const StepOptions& options) {
  const StepSource source{graph, apply, options};
  const MaxPool& op = std::get<MaxPool>(pool.op);
  const auto [n, h, w, c] = Nhwc::of(source.in(0).shape);
  const PoolShape shape{n, h, w, c, op.window, op.stride, op.pad};
  const kernels::Element type = source.element(source.in(0));
  const float epsilon = std::get<BatchNormApply>(apply.op).epsilon;
  Step step = source.step(
      [=](const Bound& b) {
        const BatchNormVectors vectors = apply_vectors(b, epsilon);
        kernels::max_pool(shape, type, b.in[0], &vectors, b.out[0], pool_argmax(b), b.stream);
      },
      argmax_scratch_bytes(graph, pool), max_pool_cost(graph, pool, shape));
  step.outputs = pool.outputs;
  return step;
}

/// batch_norm_apply [-> add] [-> relu or relu_mask].
Step joined_apply_step(const Graph& graph, const Fused& fused, const Node& apply,
                       const StepOptions& options) {
  const StepSource source{graph, apply, options};
  const Rows rows = source.rows(source.in(0));
  const float epsilon = std::get<BatchNormApply>(apply.op).epsilon;
  const Node* sum = part<Add>(graph, fused);
  Operands inputs(apply.inputs);
  const size_t addend = inputs.add(sum, sum != nullptr && sum->inputs[0] == apply.outputs[0] ? 1 : 0);
  const bool masked = part<ReluMask>(graph, fused) != nullptr;
  const bool relu = masked || part<Activation>(graph, fused) != nullptr;
  Step step = source.step([=](const Bound& b) {
    kernels::batch_norm_apply(rows,
                              {.src = b.in[0],
                               .vectors = apply_vectors(b, epsilon),
                               .addend = at(b.in, addend),
                               .relu = relu,
                               .mask = masked ? as<uint8_t>(b.out[1]) : nullptr,
                               .dst = b.out[0]},
                              b.stream);
  });
  step.inputs = inputs.ids();
  step.outputs = graph.node(fused.first + static_cast<NodeId>(fused.length) - 1).outputs;
  return step;
}

}  // namespace

Step make_step(const StepSource& source, const BatchNormStats&) {
  const Rows rows = source.rows(source.in(0));
  const size_t workspace = kernels::batch_norm_stats_workspace(rows);
  return source.step(
      [=](const Bound& b) {
        kernels::batch_norm_stats(rows, b.in[0], as<float>(b.out[0]), as<float>(b.out[1]), b.scratch,
                                  b.counter, b.stream);
      },
      workspace, ordered_sum(workspace));
}

Step make_step(const StepSource& source, const BatchNormApply& op) {
  const Rows rows = source.rows(source.in(0));
  return source.step([=](const Bound& b) {
    kernels::batch_norm_apply(
        rows, {.src = b.in[0], .vectors = apply_vectors(b, op.epsilon), .dst = b.out[0]}, b.stream);
  });
}

Step make_step(const StepSource& source, const BatchNormBackwardReduce& op) {
  const Rows rows = source.rows(source.in(1));
  const size_t workspace = kernels::batch_norm_backward_reduce_workspace(rows);
  return source.step(
      [=](const Bound& b) {
        kernels::batch_norm_backward_reduce(
            rows,
            {.d_a = b.in[0],
             .src = b.in[1],
             .vectors = {as<float>(b.in[2]), as<float>(b.in[3]), nullptr, nullptr, op.epsilon},
             .d_gamma = as<float>(b.out[0]),
             .d_beta = as<float>(b.out[1])},
            b.scratch, b.counter, b.stream);
      },
      workspace, ordered_sum(workspace));
}

Step make_step(const StepSource& source, const BatchNormBackwardApply& op) {
  const Rows rows = source.rows(source.in(1));
  return source.step([=](const Bound& b) {
    const BatchNormVectors vectors{as<float>(b.in[2]), as<float>(b.in[3]), as<float>(b.in[4]), nullptr,
                                   op.epsilon};
    kernels::batch_norm_backward_apply(rows, b.in[0], b.in[1], vectors, as<float>(b.in[5]),
                                       as<float>(b.in[6]), nullptr, b.out[0], b.stream);
  });
}

Step make_step(const StepSource& source, const BatchNormFrozenBackward& op) {
  const Rows rows = source.rows(source.in(0));
  return source.step(
      [=](const Bound& b) {
        const BatchNormVectors vectors{as<float>(b.in[1]), as<float>(b.in[2]), as<float>(b.in[3]), nullptr,
                                       op.epsilon};
        kernels::batch_norm_frozen_backward(rows, b.in[0], vectors, b.out[0], b.stream);
      },
      0, also_read(-static_cast<int64_t>(source.in(1).bytes())));  // the mean
}

Step make_fused_apply(const Graph& graph, const Fused& fused, const StepOptions& options) {
  const Node& apply = *part<BatchNormApply>(graph, fused);
  const Node* pool = part<MaxPool>(graph, fused);
  return pool != nullptr ? pooled_apply_step(graph, apply, *pool, options)
                         : joined_apply_step(graph, fused, apply, options);
}

Step make_fused_reduce(const Graph& graph, const Fused& fused, const StepOptions& options) {
  const Node& reduce = *part<BatchNormBackwardReduce>(graph, fused);
  const Node* relu = part<ActivationBackward>(graph, fused);
  const Node* sum = part<Add>(graph, fused);
  const Node* pool = part<MaxPoolBackward>(graph, fused);
  const Node* masked = part<ReluMaskBackward>(graph, fused);
  const Node* apply = relu == nullptr ? nullptr : normalised_by(graph, relu->inputs[1], reduce);
  const Node* average = part<GlobalAvgPoolBackward>(graph, fused);
  const Node& start =
      *part<Add, MaxPoolBackward, GlobalAvgPoolBackward, ActivationBackward, ReluMaskBackward>(graph, fused);

  Operands inputs({start.inputs[0], reduce.inputs[1], reduce.inputs[2], reduce.inputs[3]});
  const size_t d_b = inputs.add(sum, 1), argmax = inputs.add(pool, 1), gamma = inputs.add(apply, 3),
               beta = inputs.add(apply, 4), gate_tensor = apply == nullptr ? inputs.add(relu, 1) : kAbsent,
               gate_mask = inputs.add(masked, 1);
  const Gate gate = apply != nullptr    ? Gate::kNormalised
                    : relu != nullptr   ? Gate::kTensor
                    : masked != nullptr ? Gate::kMask
                                        : Gate::kOpen;
  const StepSource source{graph, reduce, options};
  const Rows rows = source.rows(source.in(1));
  const float epsilon = std::get<BatchNormBackwardReduce>(reduce.op).epsilon;
  const PoolShape pool_shape = pool != nullptr ? std::get<MaxPoolBackward>(pool->op).shape : PoolShape{};
  const bool pooled = pool != nullptr;
  const Shape averaged = average != nullptr ? std::get<GlobalAvgPoolBackward>(average->op).src : Shape{};
  const int64_t average_pixels = average != nullptr ? averaged[1] * averaged[2] : 0;
  const size_t workspace = kernels::batch_norm_backward_reduce_workspace(rows);
  Step step = source.step(
      [=](const Bound& b) {
        kernels::batch_norm_backward_reduce(
            rows,
            {.d_a = b.in[0],
             .d_b = at(b.in, d_b),
             .pool = pooled ? &pool_shape : nullptr,
             .argmax = as<uint8_t>(at(b.in, argmax)),
             .average_pixels = average_pixels,
             .gate = gate,
             .gate_tensor = at(b.in, gate_tensor),
             .gate_mask = as<uint8_t>(at(b.in, gate_mask)),
             .src = b.in[1],
             .vectors = {as<float>(b.in[2]), as<float>(b.in[3]), as<float>(at(b.in, gamma)),
                         as<float>(at(b.in, beta)), epsilon},
             .g = b.out[2],  // null when nobody else reads it
             .d_gamma = as<float>(b.out[0]),
             .d_beta = as<float>(b.out[1])},
            b.scratch, b.counter, b.stream);
      },
      workspace, ordered_sum(workspace));
  step.inputs = inputs.ids();
  step.outputs.push_back(reduce.inputs[0]);
  return step;
}

/// batch_norm_backward_apply -> add.
Step make_fused_backward_apply(const Graph& graph, const Fused& fused, const StepOptions& options) {
  const StepSource source{graph, *part<BatchNormBackwardApply>(graph, fused), options};
  const Node& sum = *part<Add>(graph, fused);
  const Rows rows = source.rows(source.in(1));
  const float epsilon = std::get<BatchNormBackwardApply>(source.node.op).epsilon;
  Operands inputs(source.node.inputs);
  const size_t addend = inputs.add(&sum, sum.inputs[0] == source.node.outputs[0] ? 1 : 0);
  Step step = source.step([=](const Bound& b) {
    const BatchNormVectors vectors{as<float>(b.in[2]), as<float>(b.in[3]), as<float>(b.in[4]), nullptr,
                                   epsilon};
    kernels::batch_norm_backward_apply(rows, b.in[0], b.in[1], vectors, as<float>(b.in[5]),
                                       as<float>(b.in[6]), b.in[addend], b.out[0], b.stream);
  });
  step.inputs = inputs.ids();
  step.outputs = sum.outputs;
  return step;
}

}  // namespace residuum::cuda
