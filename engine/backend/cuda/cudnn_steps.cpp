// cuDNN's d_weight has the type of the activations, the engine's is f32: 16-bit results are widened by a
// kernel behind the convolution, out of the step's scratch.
#include "engine/backend/cuda/cudnn_steps.h"

#include "engine/backend/cuda/factor.h"

namespace residuum::cuda {
namespace {

/// The activation whose type the products have.
const TensorDesc& activation_of(const StepSource& source, CudnnPass pass) {
  return pass == CudnnPass::kForward        ? source.in(0)
         : pass == CudnnPass::kBackwardData ? source.out(0)
                                            : source.in(1);
}

CudnnProblem problem_of(const StepSource& source, const ConvShape& shape, CudnnPass pass) {
  return {{shape, source.element(activation_of(source, pass)), source.options.f32_math}, pass};
}

}  // namespace

std::vector<CudnnAlgorithm> cudnn_algorithms(const StepSource& source, const ConvShape& shape,
                                             CudnnPass pass) {
  const CudnnProblem problem = problem_of(source, shape, pass);
  const bool other_result = pass == CudnnPass::kForward && source.element(source.out(0)) != problem.conv.type;
  if (source.options.cudnn == nullptr || other_result) return {};
  return source.options.cudnn->algorithms(problem);
}

std::optional<Step> cudnn_step(const StepSource& source, const ConvShape& shape, CudnnPass pass) {
  const std::vector<CudnnAlgorithm> offered = cudnn_algorithms(source, shape, pass);
  if (offered.empty()) return std::nullopt;
  const CudnnAlgorithm algorithm = offered[std::min(source.options.cudnn_rank, offered.size() - 1)];
  const CudnnProblem problem = problem_of(source, shape, pass);
  const kernels::Element type = problem.conv.type;
  const Factor a(source, source.in(0), type), b(source, source.in(1), type);
  const bool widened = source.element(source.out(0)) != type;
  const kernels::Rows result{1, source.out(0).elements(), type};
  const size_t result_bytes =
      widened ? aligned(static_cast<size_t>(result.elements()) * kernels::size_of(type)) : 0;
  const Cudnn& cudnn = *source.options.cudnn;
  return source.step(
      [=, &cudnn](const Bound& bound) {
        std::byte* const narrow = bound.scratch + a.scratch_bytes() + b.scratch_bytes();
        const void* first = a.ready(bound.in[0], bound.scratch, bound.stream);
        const void* second = b.ready(bound.in[1], bound.scratch + a.scratch_bytes(), bound.stream);
        cudnn.run(problem, algorithm, first, second, widened ? narrow : bound.out[0], narrow + result_bytes,
                  bound.stream);
        if (widened) kernels::cast(result, narrow, kernels::Element::kF32, bound.out[0], bound.stream);
      },
      a.scratch_bytes() + b.scratch_bytes() + result_bytes + algorithm.workspace_bytes);
}

}  // namespace residuum::cuda
