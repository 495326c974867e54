#include "engine/backend/cuda/steps.h"

#include "engine/backend/cuda/cudnn_steps.h"
#include "engine/core/check.h"

namespace residuum::cuda {

kernels::Element StepSource::element(const TensorDesc& desc) const {
  switch (desc.dtype) {
    case DType::kF32:
      return kernels::Element::kF32;
    case DType::kBF16:
      return kernels::Element::kBF16;
    case DType::kF16:
      return kernels::Element::kF16;
    default:
      fail(ErrorKind::kDevice, "node '{}' ({}): CUDA computes in f32, bf16 and f16, not in {}", node.name,
           op_name(node.op), to_string(desc.dtype));
  }
}

kernels::Rows StepSource::rows(const TensorDesc& desc) const {
  const int64_t channels = desc.shape.rank() == 0 ? 1 : desc.shape[desc.shape.rank() - 1];
  return {channels == 0 ? 0 : desc.elements() / channels, channels, element(desc)};
}

Step StepSource::step(std::function<void(const Bound&)> enqueue, size_t scratch_bytes) const {
  return {node.inputs, node.outputs, scratch_bytes, {}, std::move(enqueue)};
}

std::vector<Step> make_steps(const Graph& graph, const Group& group, const StepOptions& options) {
  std::vector<Step> steps;
  for (size_t done = 0; done < group.nodes.size();) {
    const Fused fused = fused_at(graph, group.nodes[done], group.nodes.size() - done);
    const StepSource source{graph, graph.node(fused.first), options};
    switch (fused.kind) {
      case FusedKind::kNode:
        if (auto step = cudnn_step(source)) {
          steps.push_back(std::move(*step));
          break;
        }
        steps.push_back(std::visit([&](const auto& op) { return make_step(source, op); }, source.node.op));
        break;
      case FusedKind::kWindow:
        steps.push_back(make_fused_window(graph, fused, options));
        break;
      case FusedKind::kApply:
        steps.push_back(make_fused_apply(graph, fused, options));
        break;
      case FusedKind::kReduce:
        steps.push_back(make_fused_reduce(graph, fused, options));
        break;
    }
    done += fused.length;
  }
  return steps;
}

bool joins(const Graph& graph, std::span<const NodeId> group, NodeId next) {
  return fused_at(graph, group.front(), graph.nodes.size()).contains(next);
}

}  // namespace residuum::cuda
