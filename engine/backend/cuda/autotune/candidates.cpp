#include "engine/backend/cuda/autotune/candidates.h"

#include <algorithm>
#include <map>

#include "engine/backend/cuda/report/kernel_name.h"
#include "engine/backend/cuda/steps/cudnn_steps.h"
#include "engine/core/overloaded.h"

namespace residuum::cuda {
namespace {

/// Of a convolution. On an H100 even the second was the fastest for no shape of ResNet-50; each one costs
/// measuring.
constexpr size_t kMostCudnnAlgorithms = 2;

template <typename... Operations>
bool is_one_of(const Op& op) {
  return (std::holds_alternative<Operations>(op) || ...);
}
bool is_conv(const Op& op) {
  return is_one_of<Conv, ConvBackwardData, ConvBackwardFilter, Gram>(op);
}
bool is_linear(const Op& op) {
  return is_one_of<Linear, LinearBackwardData, LinearBackwardFilter>(op);
}

std::vector<Group> separate(const Group& group) {
  std::vector<Group> pieces;
  for (const NodeId id : group.nodes) pieces.push_back({{id}, {}});
  return pieces;
}

/// Where a group is cut: ahead of each node of a kind, and behind it.
struct Cut {
  bool ahead = true, behind = true;
};
std::vector<Group> cut_at(bool (*is_kind)(const Op&), const Graph& graph, const Group& group,
                          const Cut& cut = {}) {
  std::vector<Group> pieces;
  bool open = false;
  for (const NodeId id : group.nodes) {
    const bool here = is_kind(graph.node(id).op);
    if (!open || (here && cut.ahead)) pieces.emplace_back();
    pieces.back().nodes.push_back(id);
    open = !(here && cut.behind);
  }
  return pieces;
}

/// Whether a value inside of the group must have a place in memory: one step leaves it for another. (What a
/// step both forms and reads stays in it; what no node reads, steps still write.)
bool is_passed(const Graph& graph, const Group& group, const std::vector<Step>& steps, ValueId id) {
  const auto lists = [&](std::vector<ValueId> Step::*list) {
    return std::any_of(steps.begin(), steps.end(), [&](const Step& step) {
      return std::count((step.*list).begin(), (step.*list).end(), id) != 0;
    });
  };
  const bool has_reader = std::any_of(group.nodes.begin(), group.nodes.end(), [&](NodeId node) {
    const std::vector<ValueId>& inputs = graph.node(node).inputs;
    return std::count(inputs.begin(), inputs.end(), id) != 0;
  });
  return lists(&Step::inputs) || (!has_reader && lists(&Step::outputs));
}

/// The pieces one after the other; values between them pass through the scratch.
Candidate in_pieces(std::string name, const Graph& graph, const Group& group,
                    const std::vector<Group>& pieces, const StepOptions& options) {
  Candidate candidate{std::move(name), {}, {}};
  for (const Group& piece : pieces) {
    for (Step& step : make_steps(graph, piece, options)) candidate.steps.push_back(std::move(step));
  }
  for (const ValueId id : group.internal) {
    if (is_passed(graph, group, candidate.steps, id))
      candidate.passed.push_back({id, graph.desc(id).bytes()});
  }
  return candidate;
}

/// The group by the engine's kernels in more launches than one.
void add_cut(std::vector<Candidate>& list, const Graph& graph, const Group& group, const StepOptions& own) {
  const std::vector<Group> ahead = cut_at(is_conv, graph, group, {.behind = false}),
                           behind = cut_at(is_conv, graph, group, {.ahead = false}),
                           cut = cut_at(is_conv, graph, group);
  if (ahead.size() > 1 && behind.size() > 1) {
    list.push_back(in_pieces("prologue cut", graph, group, ahead, own));
    list.push_back(in_pieces("epilogue cut", graph, group, behind, own));
  }
  if (cut.size() > 1) list.push_back(in_pieces("cut", graph, group, cut, own));
  if (group.nodes.size() > cut.size()) {
    list.push_back(in_pieces("separate", graph, group, separate(group), own));
  }
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
  std::vector<Candidate> list;
  list.push_back({"own", make_steps(graph, group, own), {}});
  for (const kernels::TileName tile : other_conv_tiles(graph, group, own)) {
    StepOptions options = own;
    options.conv_tile = static_cast<int>(tile);
    list.push_back({fmt::format("own {}", tile_name(tile)), make_steps(graph, group, options), {}});
  }
  add_cut(list, graph, group, own);
  StepOptions others = own;
  others.cudnn = libraries.cudnn;
  add_cudnn(list, graph, group, others);
  others = own;
  others.cublas = libraries.cublas;
  const bool linear = std::any_of(group.nodes.begin(), group.nodes.end(),
                                  [&](NodeId id) { return is_linear(graph.node(id).op); });
  if (others.cublas != nullptr && linear) {
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
