// Convolutions and linear layers. Tensor cores multiply factors of one type: what comes as f32 beside 16-bit
// activations (master weights, the gradient of f32 logits) is first rounded to their type in the step's
// scratch.
#include "engine/backend/cuda/factor.h"
#include "engine/core/check.h"

namespace residuum::cuda {
namespace {

using kernels::ConvProblem;
using kernels::Element;

/// Products of the type of `activation`.
ConvProblem problem_of(const StepSource& source, const ConvShape& shape, const TensorDesc& activation) {
  return {shape, source.element(activation), source.options.f32_math};
}

Step forward_step(const StepSource& source, const ConvShape& shape) {
  const ConvProblem problem = problem_of(source, shape, source.in(0));
  const Factor weight(source, source.in(1), problem.type);
  const Element dst_type = source.element(source.out(0));
  check(dst_type == problem.type || dst_type == Element::kF32, ErrorKind::kDevice,
        "node '{}' ({}): CUDA makes {} or f32 of {}, not {}", source.node.name, op_name(source.node.op),
        to_string(source.in(0).dtype), to_string(source.in(0).dtype), to_string(source.out(0).dtype));
  return source.step(
      [=](const Bound& b) {
        const void* w = weight.ready(b.in[1], b.scratch, b.stream);
        kernels::conv_forward(problem, b.in[0], w, b.out[0], dst_type, b.stream);
      },
      weight.scratch_bytes());
}

Step backward_data_step(const StepSource& source, const ConvShape& shape) {
  const ConvProblem problem = problem_of(source, shape, source.out(0));
  const Factor d_dst(source, source.in(0), problem.type), weight(source, source.in(1), problem.type);
  return source.step(
      [=](const Bound& b) {
        const void* d = d_dst.ready(b.in[0], b.scratch, b.stream);
        const void* w = weight.ready(b.in[1], b.scratch + d_dst.scratch_bytes(), b.stream);
        kernels::conv_backward_data(problem, d, w, b.out[0], b.stream);
      },
      d_dst.scratch_bytes() + weight.scratch_bytes());
}

Step backward_filter_step(const StepSource& source, const ConvShape& shape) {
  const ConvProblem problem = problem_of(source, shape, source.in(1));
  const Factor d_dst(source, source.in(0), problem.type);
  return source.step(
      [=](const Bound& b) {
        const void* d = d_dst.ready(b.in[0], b.scratch, b.stream);
        kernels::conv_backward_filter(problem, d, b.in[1], as<float>(b.out[0]),
                                      b.scratch + d_dst.scratch_bytes(), b.stream);
      },
      d_dst.scratch_bytes() + kernels::conv_backward_filter_workspace(problem));
}

/// A linear layer between a batch `src` (its extents behind the first are the features) and `features`
/// results.
ConvShape linear_shape(const TensorDesc& src, int64_t features) {
  const int64_t n = src.shape[0];
  return kernels::linear_as_conv(n, src.elements() / n, features);
}

/// The product `p` of the step's inputs `a` and `b`, by cuBLAS.
Step cublas_step(const StepSource& source, MatrixProduct p, size_t a, size_t b) {
  const Cublas& cublas = *source.options.cublas;
  p.f32_math = source.options.f32_math;
  const Factor left(source, source.in(a), p.type), right(source, source.in(b), p.type);
  return source.step(
      [=, &cublas](const Bound& bound) {
        const void* l = left.ready(bound.in[a], bound.scratch, bound.stream);
        const void* r = right.ready(bound.in[b], bound.scratch + left.scratch_bytes(), bound.stream);
        cublas.multiply(p, l, r, bound.out[0], bound.stream);
      },
      left.scratch_bytes() + right.scratch_bytes());
}

}  // namespace

Step make_step(const StepSource& source, const Conv& op) {
  const auto [n, h, w, c] = Nhwc::of(source.in(0).shape);
  return forward_step(source,
                      {n, h, w, c, op.out_channels, op.kernel_h, op.kernel_w, op.stride, op.pad, op.groups});
}
Step make_step(const StepSource& source, const ConvBackwardData& op) {
  return backward_data_step(source, op.shape);
}
Step make_step(const StepSource& source, const ConvBackwardFilter& op) {
  return backward_filter_step(source, op.shape);
}

Step make_step(const StepSource& source, const Linear& op) {
  const ConvShape s = linear_shape(source.in(0), op.out_features);
  if (source.options.cublas == nullptr) return forward_step(source, s);
  return cublas_step(source,
                     {.rows = s.n,
                      .columns = s.k,
                      .depth = s.c,
                      .b_transposed = true,
                      .type = source.element(source.in(0)),
                      .dst_type = source.element(source.out(0))},
                     0, 1);
}
Step make_step(const StepSource& source, const LinearBackwardData& op) {
  const ConvShape s = linear_shape(op.src, source.in(0).shape[1]);
  if (source.options.cublas == nullptr) return backward_data_step(source, s);
  const Element type = source.element(source.out(0));
  return cublas_step(source, {.rows = s.n, .columns = s.c, .depth = s.k, .type = type, .dst_type = type}, 0,
                     1);
}
Step make_step(const StepSource& source, const LinearBackwardFilter&) {
  const ConvShape s = linear_shape(source.in(1), source.in(0).shape[1]);
  if (source.options.cublas == nullptr) return backward_filter_step(source, s);
  return cublas_step(source,
                     {.rows = s.k,
                      .columns = s.c,
                      .depth = s.n,
                      .a_transposed = true,
                      .type = source.element(source.in(1)),
                      .dst_type = Element::kF32},
                     0, 1);
}

}  // namespace residuum::cuda
