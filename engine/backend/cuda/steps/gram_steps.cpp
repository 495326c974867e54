// A batch norm after a wide 1x1 convolution from sums over the convolution's input.
#include "engine/backend/cuda/steps/steps.h"

namespace residuum::cuda {
namespace {

using kernels::GramNorm;
using kernels::GramProblem;

/// The problem of an operation whose weight, or a tensor of its shape, is `weight`.
GramProblem gram_problem(const StepSource& source, const TensorDesc& weight, int64_t pixels) {
  const kernels::Rows rows = source.rows(weight);
  return {pixels, rows.channels, rows.rows, rows.type};
}

/// Sum, variance, gamma, d_gamma and d_beta at the positions from `first` on.
GramNorm gram_norm(const Bound& b, size_t first, float epsilon) {
  const auto at = [&](size_t i) { return as<float>(b.in[first + i]); };
  return {.sum = at(0),
          .vectors = {.variance = at(1), .gamma = at(2), .epsilon = epsilon},
          .d_gamma = at(3),
          .d_beta = at(4)};
}

}  // namespace

Step make_step(const StepSource& source, const GramStats& op) {
  const GramProblem problem = gram_problem(source, source.in(2), op.pixels);
  const size_t workspace = kernels::gram_stats_workspace(problem);
  return source.step(
      [=](const Bound& b) {
        kernels::gram_stats(problem,
                            {.gram = as<float>(b.in[0]),
                             .sum = as<float>(b.in[1]),
                             .weight = b.in[2],
                             .mean = as<float>(b.out[0]),
                             .variance = as<float>(b.out[1]),
                             .weighted = as<float>(b.out[2])},
                            b.scratch, b.counter, b.stream);
      },
      workspace, ordered_sum(workspace));
}

Step make_step(const StepSource& source, const GramBackwardReduce& op) {
  const GramProblem problem = gram_problem(source, source.in(1), 1);  // sums over pixels are made
  return source.step([=](const Bound& b) {
    kernels::gram_backward_reduce(
        problem, as<float>(b.in[0]), b.in[1],
        {.mean = as<float>(b.in[2]), .variance = as<float>(b.in[3]), .epsilon = op.epsilon},
        as<float>(b.in[4]), as<float>(b.out[0]), b.stream);
  });
}

Step make_step(const StepSource& source, const GramBackwardFilter& op) {
  const GramProblem problem = gram_problem(source, source.in(1), op.pixels);
  return source.step([=](const Bound& b) {
    kernels::gram_backward_filter(problem, as<float>(b.in[0]), as<float>(b.in[1]),
                                  gram_norm(b, 2, op.epsilon), as<float>(b.out[0]), b.stream);
  });
}

Step make_step(const StepSource& source, const GramBackwardWeight& op) {
  const GramProblem problem = gram_problem(source, source.in(0), op.pixels);
  const kernels::Element type = source.element(source.out(0));
  const size_t workspace = kernels::gram_backward_weight_workspace(problem);
  // Two kernels: both read the weight, the variance and gamma.
  const size_t again = source.in(0).bytes() + 2 * static_cast<size_t>(problem.k) * sizeof(float);
  return source.step(
      [=](const Bound& b) {
        kernels::gram_backward_weight(problem, b.in[0], gram_norm(b, 1, op.epsilon), type, b.out[0],
                                      as<float>(b.out[1]), b.scratch, b.counter, b.stream);
      },
      workspace, ordered_sum(workspace) + also_read(static_cast<int64_t>(again)) + more_launches(1));
}

}  // namespace residuum::cuda
