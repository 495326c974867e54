// Problems: layers of nets with their extents, one a line in bench/shapes/*.txt, and the operations that a
// training step runs for each.
//
// A line is a kind, a name and KEY=VALUE pairs in any order; '#' begins a comment:
//   conv layer1.0.conv2 n=256 h=56 w=56 c=64 k=64 r=3 s=3 stride=1 pad=1 times=3
// Kinds and what they want: conv n h w c k [r s stride pad groups], linear n c k, batch_norm n h w c,
// max_pool n h w c r [stride pad], global_avg_pool n h w c. Also for all: times=T, layers of this shape in
// the net; and for a conv or linear: first=1, whose data gradient no step wants. Defaults: h, w, r, stride,
// groups, times 1; s as r; pad 0.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/graph.h"
#include "kernels/shapes.h"

namespace residuum::bench {

enum class ProblemKind : uint8_t { kConv, kLinear, kBatchNorm, kMaxPool, kGlobalAvgPool };

struct Problem {
  ProblemKind kind = ProblemKind::kConv;
  std::string name;
  ConvShape shape;  ///< a linear layer's c and k are features; a pool's window is r
  int64_t times = 1;
  bool first = false;

  bool operator==(const Problem&) const = default;
};

/// The line of a shapes file.
std::string to_string(const Problem& problem);

/// Throws Error(kConfig) naming line and key for what is not understood, missing or out of range.
std::vector<Problem> parse_problems(std::string_view text, const std::string& file);
std::vector<Problem> read_problems(const std::filesystem::path& file);

/// The convolutions, linear layers, batch norms and pools of a forward graph, equal ones once, in the order
/// in which they come first and named after that one.
std::vector<Problem> problems_of(const Graph& graph);

/// "conv", "conv_backward_data", ...: the operations of a training step that the problem stands for.
std::vector<std::string> operations_of(const Problem& problem);
/// Of all kinds, in their order.
std::vector<std::string> all_operations();

/// One operation as a graph of one node, activations in `activation`; its inputs are inputs of the graph.
/// `weights`: the type of weights that convolutions and linear layers read.
Graph graph_of(const Problem& problem, const std::string& operation, DType activation, DType weights);

}  // namespace residuum::bench
