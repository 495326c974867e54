// cuDNN's d_weight has the type of the activations, the engine's is f32: 16-bit results are widened by a
// kernel behind the convolution, out of the step's scratch.
#include "engine/backend/cuda/steps/cudnn_steps.h"

#include <algorithm>

#include "engine/backend/cuda/steps/factor.h"
#include "engine/core/overloaded.h"

namespace residuum::cuda {
namespace {

/// What the node is to cuDNN, products in the type of `activation`.
CudnnProblem problem_of(const StepSource& source, const ConvShape& shape, CudnnPass pass,
                        const TensorDesc& activation) {
  return {{shape, source.element(activation), source.options.f32_math}, pass};
}
std::optional<CudnnProblem> problem_of(const StepSource& source) {
  using Found = std::optional<CudnnProblem>;
  return std::visit(overloaded{
                        [&](const Conv& op) -> Found {
                          const auto [n, h, w, c] = Nhwc::of(source.in(0).shape);
                          const ConvShape shape{n,           h,           w,         c,      op.out_channels,
                                                op.kernel_h, op.kernel_w, op.stride, op.pad, op.groups};
                          return problem_of(source, shape, CudnnPass::kForward, source.in(0));
                        },
                        [&](const ConvBackwardData& op) -> Found {
                          return problem_of(source, op.shape, CudnnPass::kBackwardData, source.out(0));
                        },
                        [&](const ConvBackwardFilter& op) -> Found {
                          return problem_of(source, op.shape, CudnnPass::kBackwardFilter, source.in(1));
                        },
                        [](const auto&) -> Found { return std::nullopt; },
                    },
                    source.node.op);
}

}  // namespace

std::vector<CudnnAlgorithm> cudnn_algorithms(const StepSource& source) {
  if (source.options.cudnn == nullptr) return {};
  const std::optional<CudnnProblem> problem = problem_of(source);
  if (!problem) return {};
  const bool other_result =
      problem->pass != CudnnPass::kBackwardFilter && source.element(source.out(0)) != problem->conv.type;
  return other_result ? std::vector<CudnnAlgorithm>() : source.options.cudnn->algorithms(*problem);
}

std::optional<Step> cudnn_step(const StepSource& source) {
  const std::vector<CudnnAlgorithm> offered = cudnn_algorithms(source);
  if (offered.empty()) return std::nullopt;
  const CudnnAlgorithm algorithm = offered[std::min(source.options.cudnn_rank, offered.size() - 1)];
  const CudnnProblem problem = *problem_of(source);
  const kernels::Element type = problem.conv.type;
  const Factor a(source, source.in(0), type), b(source, source.in(1), type);
  const bool widened = source.element(source.out(0)) != type;
  const kernels::Rows result{1, source.out(0).elements(), type};
  const size_t result_bytes =
      widened ? aligned(static_cast<size_t>(result.elements()) * kernels::size_of(type)) : 0;
  const Cudnn& cudnn = *source.options.cudnn;
  Step step = source.step(
      [=, &cudnn](const Bound& bound) {
        std::byte* const narrow = bound.scratch + a.scratch_bytes() + b.scratch_bytes();
        const void* first = a.ready(bound.in[0], bound.scratch, bound.stream);
        const void* second = b.ready(bound.in[1], bound.scratch + a.scratch_bytes(), bound.stream);
        cudnn.run(problem, algorithm, first, second, widened ? narrow : bound.out[0], narrow + result_bytes,
                  bound.stream);
        if (widened) kernels::cast(result, narrow, kernels::Element::kF32, bound.out[0], bound.stream);
      },
      a.scratch_bytes() + b.scratch_bytes() + result_bytes + algorithm.workspace_bytes);
  step.beside = a.cost() + b.cost();
  if (widened) step.beside += written_and_read(result_bytes) + more_launches(1);
  return step;
}

}  // namespace residuum::cuda
