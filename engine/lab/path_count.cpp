#include "engine/lab/path_count.h"

#include <cmath>
#include <memory>

#include "engine/core/check.h"

namespace residuum {
namespace {

using Polynomial = std::vector<BigCount>;  ///< [l]: ways with l weight layers

void add(Polynomial& sum, const Polynomial& part) {
  if (sum.size() < part.size()) sum.resize(part.size());
  for (size_t l = 0; l < part.size(); ++l) sum[l] += part[l];
}

/// The ways to the output of `node`, from those to its inputs.
std::shared_ptr<const Polynomial> ways_to(const Graph& graph, const Node& node,
                                          const std::vector<std::shared_ptr<const Polynomial>>& ways) {
  if (std::holds_alternative<Normalize>(node.op)) return std::make_shared<Polynomial>(Polynomial{1});
  std::vector<std::shared_ptr<const Polynomial>> parts;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const auto& part = ways[static_cast<size_t>(node.inputs[i])];
    if (part != nullptr && reads_batch(node.op, i) && !graph.value(node.inputs[i]).persistent())
      parts.push_back(part);
  }
  if (parts.empty()) return nullptr;
  const bool weights = has_weights(node.op);
  if (parts.size() == 1 && !weights) return parts[0];
  Polynomial sum;
  for (const auto& part : parts) add(sum, *part);
  if (weights) sum.insert(sum.begin(), BigCount());
  return std::make_shared<Polynomial>(std::move(sum));
}

/// By dynamic programming over the nodes; what no later node reads is forgotten.
Polynomial ways_through(const Graph& graph) {
  const ValueId logits = graph.output("logits");
  std::vector<size_t> last_reader(graph.values.size(), 0);
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    for (const ValueId id : graph.nodes[n].inputs) last_reader[static_cast<size_t>(id)] = n;
  }
  std::vector<std::shared_ptr<const Polynomial>> ways(graph.values.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    ways[static_cast<size_t>(node.outputs[0])] = ways_to(graph, node, ways);
    if (node.outputs[0] == logits) break;
    for (const ValueId id : node.inputs) {
      if (last_reader[static_cast<size_t>(id)] == n) ways[static_cast<size_t>(id)] = nullptr;
    }
  }
  check(ways[static_cast<size_t>(logits)] != nullptr, ErrorKind::kInternal,
        "no way leads from images to logits");
  return *ways[static_cast<size_t>(logits)];
}

/// The narrowest span around the middle with at least `wanted` of the paths: grown by the larger neighbour.
void find_span(PathCount& count, double wanted) {
  const int64_t n = count.modules;
  count.low = n / 2;
  count.high = n - n / 2;
  count.share_in_span = share_of_paths(count.by_modules, count.low, count.high);
  while (count.share_in_span < wanted && count.low > 0) {
    --count.low;
    ++count.high;
    count.share_in_span = share_of_paths(count.by_modules, count.low, count.high);
  }
}

}  // namespace

double share_of_paths(const std::vector<BigCount>& by_modules, int64_t low, int64_t high) {
  BigCount inside, all;
  for (size_t k = 0; k < by_modules.size(); ++k) {
    all += by_modules[k];
    if (static_cast<int64_t>(k) >= low && static_cast<int64_t>(k) <= high) inside += by_modules[k];
  }
  return std::exp(inside.log() - all.log());
}

PathCount count_paths(const Graph& graph) {
  constexpr double kSpan = 0.98;
  PathCount count;
  count.modules = static_cast<int64_t>(find_joins(graph).size());
  count.by_modules = binomials(count.modules);
  count.mean_modules = static_cast<double>(count.modules) / 2;
  find_span(count, kSpan);
  count.by_layers = ways_through(graph);
  for (const BigCount& ways : count.by_layers) count.ways += ways;
  if (count.modules == 0) count.by_modules = {count.ways};
  for (const BigCount& paths : count.by_modules) count.paths += paths;
  return count;
}

}  // namespace residuum
