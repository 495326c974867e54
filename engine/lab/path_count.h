// How many ways lead through a net, and how long they are: exact numbers from the graph alone.
#pragma once

#include <vector>

#include "engine/graph/graph.h"
#include "engine/lab/big_count.h"
#include "engine/lab/structure.h"

namespace residuum {

struct PathCount {
  int64_t modules = 0;  ///< blocks with a join
  BigCount paths;       ///< 2^modules: through branch or shortcut of each; without modules: all ways
  std::vector<BigCount> by_modules;  ///< [k]: paths through k branches, C(modules, k)
  double mean_modules = 0;
  int64_t low = 0, high = 0;  ///< the shortest span around the mean that holds at least 98 % of the paths
  double share_in_span = 0;
  /// Ways of the data from the images to the logits through the whole graph, [l]: with l weight layers. In a
  /// net of residual blocks these are the same paths; in highway and densely connected nets every way through
  /// gates and concatenations counts.
  std::vector<BigCount> by_layers;
  BigCount ways;  ///< the sum of by_layers
};

/// Counts the paths of a forward graph. Precondition: it has the output "logits".
PathCount count_paths(const Graph& graph);

/// The share of the paths that go through `low` .. `high` modules, from exact counts.
double share_of_paths(const std::vector<BigCount>& by_modules, int64_t low, int64_t high);

}  // namespace residuum
