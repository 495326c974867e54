#include "engine/graph/cost.h"

#include <algorithm>
#include <set>
#include <span>

#include "engine/core/overloaded.h"

namespace residuum {
namespace {

/// Operations per element of the largest tensor a memory-bound node touches.
int64_t operations_per_element(const Op& op) {
  return std::visit(overloaded{
                        [](const CropFlip&) -> int64_t { return 0; },
                        [](const Normalize&) -> int64_t { return 2; },
                        [](const BatchNormStats&) -> int64_t { return 3; },
                        [](const BatchNormApply&) -> int64_t { return 2; },
                        [](const BatchNormBackwardReduce&) -> int64_t { return 4; },
                        [](const BatchNormBackwardApply&) -> int64_t { return 4; },
                        [](const SoftmaxCrossEntropy&) -> int64_t { return 5; },
                        [](const SoftmaxCrossEntropyBackward&) -> int64_t { return 5; },
                        [](const MaxPool& p) -> int64_t { return p.window * p.window; },
                        [](const AvgPool& p) -> int64_t { return p.window * p.window; },
                        [](const BlockGate&) -> int64_t { return 0; },
                        [](const Concat&) -> int64_t { return 0; },
                        [](const Slice&) -> int64_t { return 0; },
                        [](const SliceBackward&) -> int64_t { return 0; },
                        [](const ShortcutA&) -> int64_t { return 0; },
                        [](const ShortcutABackward&) -> int64_t { return 0; },
                        [](const GramBackwardFilter&) -> int64_t { return 2; },
                        [](const SgdUpdate&) -> int64_t { return 2; },
                        [](const GradientNorm&) -> int64_t { return 2; },
                        [](const auto&) -> int64_t { return 1; },
                    },
                    op);
}

/// Elements the operations of a memory-bound node are counted over: its outputs' or, when it reduces or
/// updates, its inputs'.
int64_t work_elements(const Graph& graph, const Node& node) {
  int64_t in = 0, out = 0;
  for (ValueId id : node.inputs)
    in = op_domain(node.op) == OpDomain::kWhole ? in + graph.desc(id).elements()
                                                : std::max(in, graph.desc(id).elements());
  for (ValueId id : node.outputs) out = std::max(out, graph.desc(id).elements());
  return op_domain(node.op) == OpDomain::kBatchMap ? out : in;
}

int64_t total_bytes(const Graph& graph, const auto& ids) {
  int64_t bytes = 0;
  for (ValueId id : ids) bytes += static_cast<int64_t>(graph.desc(id).bytes());
  return bytes;
}

/// Persistent values a node updates in place.
std::vector<ValueId> updated_values(const Node& node) {
  const auto lists = [&](size_t leading, size_t count, size_t first, size_t last) {
    const size_t length = (node.inputs.size() - leading) / count;
    const auto begin = node.inputs.begin() + static_cast<std::ptrdiff_t>(leading);
    return std::vector<ValueId>(begin + static_cast<std::ptrdiff_t>(first * length),
                                begin + static_cast<std::ptrdiff_t>(last * length));
  };
  using Ids = std::vector<ValueId>;
  return std::visit(overloaded{
                        [&](const SgdUpdate& op) -> Ids {
                          const auto edge = [&](size_t count) {
                            return node.inputs.begin() +
                                   static_cast<std::ptrdiff_t>(1 + count * op.weight_decay.size());
                          };
                          Ids ids(edge(0), edge(2));
                          ids.insert(ids.end(), edge(3), node.inputs.end());  // the copies
                          return ids;
                        },
                        [&](const EmaUpdate&) -> Ids { return lists(1, 2, 1, 2); },
                        [&](const AccumulateGradient&) -> Ids { return lists(0, 2, 1, 2); },
                        [&](const BatchNormCommit&) -> Ids { return lists(1, 4, 2, 4); },
                        [&](const auto&) -> Ids { return {}; },
                    },
                    node.op);
}

/// The inputs but those only written: SGD's copies.
std::span<const ValueId> read_values(const Node& node) {
  const std::span<const ValueId> inputs(node.inputs);
  const auto* sgd = std::get_if<SgdUpdate>(&node.op);
  return sgd == nullptr ? inputs : inputs.first(inputs.size() - sgd->copy_of.size());
}

}  // namespace

Cost& Cost::operator+=(const Cost& other) {
  bytes_read += other.bytes_read;
  bytes_written += other.bytes_written;
  flops += other.flops;
  launches += other.launches;
  return *this;
}

int64_t node_macs(const Graph& graph, const Node& node) {
  const auto in = [&](size_t i) -> const TensorDesc& { return graph.desc(node.inputs[i]); };
  const auto linear = [&](const TensorDesc& dst, const TensorDesc& src) {
    return dst.elements() * (src.shape[0] == 0 ? 0 : src.elements() / src.shape[0]);
  };
  return std::visit(
      overloaded{
          [&](const Conv& op) -> int64_t {
            const TensorDesc& dst = graph.desc(node.outputs[0]);
            return dst.elements() * op.kernel_h * op.kernel_w *
                   (Nhwc::of(graph.desc(node.inputs[0]).shape).c / op.groups);
          },
          [&](const ConvBackwardData& op) -> int64_t { return op.shape.macs(); },
          [&](const ConvBackwardFilter& op) -> int64_t { return op.shape.macs(); },
          [&](const Linear&) -> int64_t {
            return linear(graph.desc(node.outputs[0]), graph.desc(node.inputs[0]));
          },
          [&](const LinearBackwardData& op) -> int64_t { return linear(graph.desc(node.inputs[0]), op.src); },
          [&](const LinearBackwardFilter&) -> int64_t {
            return linear(graph.desc(node.inputs[0]), graph.desc(node.inputs[1]));
          },
          [&](const Gram&) -> int64_t { return in(0).elements() * Nhwc::of(in(0).shape).c; },
          [&](const GramStats&) -> int64_t { return in(2).elements() * in(1).elements(); },
          [&](const GramBackwardReduce&) -> int64_t { return in(1).elements(); },
          [&](const GramBackwardWeight&) -> int64_t { return in(0).elements() * in(1).elements(); },
          [](const auto&) -> int64_t { return 0; },
      },
      node.op);
}

int64_t node_flops(const Graph& graph, const Node& node) {
  const int64_t macs = node_macs(graph, node);
  return macs > 0 ? 2 * macs : operations_per_element(node.op) * work_elements(graph, node);
}

Cost node_cost(const Graph& graph, const Node& node) {
  const auto reads = read_values(node);
  const std::set<ValueId> inputs(reads.begin(), reads.end());
  return {total_bytes(graph, inputs),
          total_bytes(graph, node.outputs) + total_bytes(graph, updated_values(node)),
          node_flops(graph, node), 1};
}

Cost group_cost(const Graph& graph, const Group& group) {
  std::set<ValueId> made, read, written;
  Cost cost{0, 0, 0, 1};
  for (NodeId id : group.nodes) {
    const Node& node = graph.node(id);
    for (ValueId input : read_values(node)) {
      if (!made.contains(input)) read.insert(input);
    }
    made.insert(node.outputs.begin(), node.outputs.end());
    written.insert(node.outputs.begin(), node.outputs.end());
    cost.bytes_written += total_bytes(graph, updated_values(node));
    cost.flops += node_flops(graph, node);
  }
  for (ValueId internal : group.internal) written.erase(internal);
  cost.bytes_read = total_bytes(graph, read);
  cost.bytes_written += total_bytes(graph, written);
  return cost;
}

}  // namespace residuum
