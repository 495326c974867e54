#include "engine/backend/cuda/steps/steps.h"

#include "engine/backend/cuda/steps/cudnn_steps.h"
#include "engine/core/check.h"

namespace residuum::cuda {

kernels::Element StepSource::element(const TensorDesc& desc) const {
  const std::optional<kernels::Element> known = element_of(desc.dtype);
  check(known.has_value(), ErrorKind::kDevice,
        "node '{}' ({}): CUDA computes in f32, bf16 and f16, not in {}", node.name, op_name(node.op),
        to_string(desc.dtype));
  return *known;
}

kernels::Rows StepSource::rows(const TensorDesc& desc) const {
  const int64_t channels = desc.shape.rank() == 0 ? 1 : desc.shape[desc.shape.rank() - 1];
  return {channels == 0 ? 0 : desc.elements() / channels, channels, element(desc)};
}

Step StepSource::step(std::function<void(const Bound&)> enqueue, size_t scratch_bytes,
                      const Cost& beside) const {
  return {node.inputs, node.outputs, scratch_bytes, {}, std::move(enqueue), beside};
}

namespace {

bool is_product(const Op& op) {
  return std::visit([](const auto& o) { return IsProduct<std::remove_cvref_t<decltype(o)>>; }, op);
}

/// The sequences that are one step each.
std::vector<Fused> fused_of(const Graph& graph, const Group& group, const StepOptions& options) {
  const Matching matching{graph, options.fusions_off};
  std::vector<Fused> all;
  for (size_t done = 0; done < group.nodes.size(); done += all.back().length) {
    all.push_back(fused_at(matching, group.nodes[done], group.nodes.size() - done));
  }
  return all;
}

/// The convolutions or the linear layer of a sequence with what is fused around them, if it has any.
std::vector<ConvParts> parts_of(const Graph& graph, const Fused& fused, const StepOptions& options) {
  if (fused.kind == FusedKind::kConv) {
    return conv_parts({graph, options.fusions_off}, fused.first, fused.length);
  }
  const Node* const alone = fused.kind == FusedKind::kNode ? &graph.node(fused.first) : nullptr;
  if (alone == nullptr || !is_product(alone->op)) return {};
  return {{.conv = alone, .length = 1}};
}

/// The one step of a fused sequence.
Step make_fused_step(const Graph& graph, const Fused& fused, const StepOptions& options) {
  const StepSource source{graph, graph.node(fused.first), options};
  if (fused.length == 1) {
    if (auto step = cudnn_step(source)) return *step;
  }
  switch (fused.kind) {
    case FusedKind::kNode:
      break;
    case FusedKind::kWindow:
      return make_fused_window(graph, fused, options);
    case FusedKind::kApply:
      return make_fused_apply(graph, fused, options);
    case FusedKind::kReduce:
      return make_fused_reduce(graph, fused, options);
    case FusedKind::kBackwardApply:
      return make_fused_backward_apply(graph, fused, options);
    case FusedKind::kLoss:
      return make_loss_step(graph, fused, options);
    case FusedKind::kUpdate:
      return make_fused_update(graph, fused, options);
    case FusedKind::kConv:
      return make_conv_step(graph, parts_of(graph, fused, options), options);
  }
  return std::visit([&](const auto& op) { return make_step(source, op); }, source.node.op);
}

}  // namespace

std::vector<Step> make_steps(const Graph& graph, const Group& group, const StepOptions& options) {
  std::vector<Step> steps;
  for (const Fused& fused : fused_of(graph, group, options)) {
    steps.push_back(make_fused_step(graph, fused, options));
  }
  return steps;
}

std::vector<kernels::TileName> other_conv_tiles(const Graph& graph, const Group& group,
                                                const StepOptions& options) {
  std::vector<std::vector<ConvParts>> convs;
  for (const Fused& fused : fused_of(graph, group, options)) {
    if (std::vector<ConvParts> parts = parts_of(graph, fused, options); !parts.empty())
      convs.push_back(std::move(parts));
  }
  return convs.size() == 1 ? other_tiles(graph, convs.front(), options) : std::vector<kernels::TileName>();
}

}  // namespace residuum::cuda
