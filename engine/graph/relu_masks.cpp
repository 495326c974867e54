// The pass that keeps one bit an element of a ReLU for its backward pass instead of the output.
#include <map>

#include "engine/graph/passes.h"

namespace residuum {
namespace {

bool is_relu_backward(const Op& op) {
  const auto* backward = std::get_if<ActivationBackward>(&op);
  return backward != nullptr && backward->kind == ActivationKind::kRelu;
}

/// How many ActivationBackward nodes read the output of each forward ReLU, by that output.
std::map<ValueId, int64_t> backward_readers(const Graph& graph) {
  std::map<ValueId, int64_t> readers;
  for (const Node& node : graph.nodes) {
    if (!is_relu_backward(node.op)) continue;
    const NodeId producer = graph.value(node.inputs[1]).producer;
    if (producer == kNone || graph.node(producer).phase != Phase::kForward) continue;
    if (is_relu(graph.node(producer).op)) ++readers[node.inputs[1]];
  }
  return readers;
}

/// Whether writing the mask once and reading it in place of dst moves fewer bytes.
bool saves_bytes(const TensorDesc& dst, const TensorDesc& mask, int64_t readers) {
  return mask.bytes() * static_cast<size_t>(readers + 1) < dst.bytes() * static_cast<size_t>(readers);
}

}  // namespace

Graph relu_masks(Graph graph) {
  std::map<ValueId, ValueId> masks;
  for (const auto& [dst, readers] : backward_readers(graph)) {
    const TensorDesc desc = graph.desc(dst);
    if (desc.shape.rank() != 4) continue;
    const TensorDesc mask = infer_outputs(ReluMask{}, {&desc, 1})[1];
    if (!saves_bytes(desc, mask, readers)) continue;
    Node& relu = graph.nodes[static_cast<size_t>(graph.value(dst).producer)];
    relu.op = ReluMask{};
    masks[dst] = static_cast<ValueId>(graph.values.size());
    relu.outputs.push_back(masks[dst]);
    graph.values.push_back(
        {graph.value(dst).name + ".mask", mask, ValueKind::kTensor, graph.value(dst).producer});
  }
  for (Node& node : graph.nodes) {
    if (!is_relu_backward(node.op)) continue;
    const auto mask = masks.find(node.inputs[1]);
    if (mask == masks.end()) continue;
    node.op = ReluMaskBackward{};
    node.inputs[1] = mask->second;
  }
  return graph;
}

}  // namespace residuum
