#include "engine/backend/cuda/candidates.h"

#include <algorithm>
#include <map>

#include "engine/backend/cuda/cudnn_steps.h"
#include "engine/backend/cuda/kernel_name.h"
#include "engine/core/overloaded.h"

namespace residuum::cuda {
namespace {

constexpr size_t kMostCudnnAlgorithms = 3;  ///< of a convolution; those further down are never the fastest

template <typename... Operations>
bool is_one_of(const Op& op) {
  return (std::holds_alternative<Operations>(op) || ...);
}
bool is_conv(const Op& op) {
  return is_one_of<Conv, ConvBackwardData, ConvBackwardFilter>(op);
}
bool is_linear(const Op& op) {
  return is_one_of<Linear, LinearBackwardData, LinearBackwardFilter>(op);
}

std::vector<Group> separate(const Group& group) {
  std::vector<Group> pieces;
  for (const NodeId id : group.nodes) pieces.push_back({{id}, {}});
  return pieces;
}

/// Each node of a kind alone, the runs of nodes between them together.
std::vector<Group> cut_at(bool (*is_alone)(const Op&), const Graph& graph, const Group& group) {
  std::vector<Group> pieces;
  bool open = false;
  for (const NodeId id : group.nodes) {
    const bool alone = is_alone(graph.node(id).op);
    if (alone || !open) pieces.emplace_back();
    pieces.back().nodes.push_back(id);
    open = !alone;
  }
  return pieces;
}

/// The pieces one after the other; values between them pass through the scratch.
Candidate in_pieces(std::string name, const Graph& graph, const Group& group,
                    const std::vector<Group>& pieces, const StepOptions& options) {
  Candidate candidate{std::move(name), {}, {}};
  for (const Group& piece : pieces) {
    for (Step& step : make_steps(graph, piece, options)) candidate.steps.push_back(std::move(step));
  }
  for (const ValueId id : group.internal) {
    const auto uses = [&](const Step& step) {
      return std::count(step.inputs.begin(), step.inputs.end(), id) != 0 ||
             std::count(step.outputs.begin(), step.outputs.end(), id) != 0;
    };
    if (std::any_of(candidate.steps.begin(), candidate.steps.end(), uses)) {
      candidate.passed.push_back({id, graph.desc(id).bytes()});
    }
  }
  return candidate;
}

void add_cudnn(std::vector<Candidate>& list, const Graph& graph, const Group& group, StepOptions options) {
  size_t offered = 0;
  for (const NodeId id : group.nodes) {
    offered = std::max(offered, cudnn_algorithms({graph, graph.node(id), options}).size());
  }
  for (size_t rank = 0; rank < std::min(offered, kMostCudnnAlgorithms); ++rank) {
    options.cudnn_rank = rank;
    list.push_back(in_pieces(rank == 0 ? "cudnn" : fmt::format("cudnn {}", rank + 1), graph, group,
                             cut_at(is_conv, graph, group), options));
  }
}

/// What the time of an operation depends on beside types and shapes of its values, if anything.
std::string attributes_of(const Op& op) {
  const auto window = [](int64_t size, int64_t stride, int64_t pad) {
    return fmt::format(" {}x{} s{} p{}", size, size, stride, pad);
  };
  const auto conv = [](int64_t stride, int64_t pad, int64_t groups) {
    return fmt::format(" s{} p{} g{}", stride, pad, groups);
  };
  return std::visit(
      overloaded{
          [&](const Conv& o) { return conv(o.stride, o.pad, o.groups); },
          [&](const ConvBackwardData& o) { return conv(o.shape.stride, o.shape.pad, o.shape.groups); },
          [&](const ConvBackwardFilter& o) { return conv(o.shape.stride, o.shape.pad, o.shape.groups); },
          [&](const MaxPool& o) { return window(o.window, o.stride, o.pad); },
          [&](const AvgPool& o) { return window(o.window, o.stride, o.pad); },
          [&](const MaxPoolBackward& o) { return window(o.shape.window, o.shape.stride, o.shape.pad); },
          [&](const AvgPoolBackward& o) { return window(o.shape.window, o.shape.stride, o.shape.pad); },
          [](const auto&) { return std::string(); },
      },
      op);
}

}  // namespace

std::vector<Candidate> candidates_of(const Graph& graph, const Group& group, const StepOptions& own,
                                     const Libraries& libraries) {
  const auto holds = [&](bool (*is)(const Op&)) {
    return std::any_of(group.nodes.begin(), group.nodes.end(),
                       [&](NodeId id) { return is(graph.node(id).op); });
  };
  std::vector<Candidate> list;
  list.push_back({"own", make_steps(graph, group, own), {}});
  for (const kernels::TileName tile : other_conv_tiles(graph, group, own)) {
    StepOptions options = own;
    options.conv_tile = static_cast<int>(tile);
    list.push_back({fmt::format("own {}", tile_name(tile)), make_steps(graph, group, options), {}});
  }
  const std::vector<Group> cut = cut_at(is_conv, graph, group);
  if (cut.size() > 1) list.push_back(in_pieces("cut", graph, group, cut, own));
  if (group.nodes.size() > cut.size()) {
    list.push_back(in_pieces("separate", graph, group, separate(group), own));
  }
  StepOptions others = own;
  others.cudnn = libraries.cudnn;
  add_cudnn(list, graph, group, others);
  others = own;
  others.cublas = libraries.cublas;
  if (others.cublas != nullptr && holds(is_linear)) {
    list.push_back(in_pieces("cublas", graph, group, cut_at(is_linear, graph, group), others));
  }
  return list;
}

std::string signature_of(const Graph& graph, const Group& group, const StepOptions& own) {
  std::map<ValueId, size_t> numbers;
  const auto values = [&](const std::vector<ValueId>& ids) {
    std::string text;
    for (const ValueId id : ids) {
      const size_t number = numbers.emplace(id, numbers.size()).first->second;
      const bool internal = std::count(group.internal.begin(), group.internal.end(), id) != 0;
      text += fmt::format("{}{}{}:{}", text.empty() ? "" : ", ", internal ? "~" : "", number,
                          to_string(graph.desc(id)));
    }
    return text;
  };
  std::string text = own.f32_math == kernels::F32Math::kTf32 ? "tf32; " : "";
  for (const std::string& kind : own.fusions_off) text += fmt::format("without {}; ", kind);
  for (const NodeId id : group.nodes) {
    const Node& node = graph.node(id);
    const std::string inputs = values(node.inputs), outputs = values(node.outputs);  // numbered in this order
    text += fmt::format("{}{}{}({}) -> ({})", id == group.nodes.front() ? "" : "; ", op_name(node.op),
                        attributes_of(node.op), inputs, outputs);
  }
  return text;
}

}  // namespace residuum::cuda
