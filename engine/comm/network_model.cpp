// The formulas. The presets are in network_presets.cpp.
#include "engine/comm/network_model.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/core/check.h"

namespace residuum {
namespace {

/// A cluster of equal nodes and the rates its collectives reach.
struct Cluster {
  double gpus = 1, nodes = 1, per_node = 1;
  double intra = 0, inter = 0;  ///< bytes/s: of a GPU, of a node

  /// Of a path that leaves the node where there are several.
  double flat() const {
    if (nodes <= 1) return intra;
    return per_node <= 1 ? inter : std::min(intra, inter);
  }
};

Cluster cluster_of(const NetworkModel& network, int gpus) {
  check(gpus >= 1, ErrorKind::kConfig, "{} GPUs, but there must be at least 1", gpus);
  const int per_node = std::min(gpus, network.gpus_per_node);
  check(gpus % per_node == 0, ErrorKind::kConfig, "{} GPUs do not fill nodes of {}", gpus,
        network.gpus_per_node);
  const int nodes = gpus / per_node;
  check(nodes == 1 || network.inter_bandwidth > 0, ErrorKind::kConfig,
        "{} GPUs are {} nodes of {}, but the network has no link between nodes", gpus, nodes, per_node);
  return {static_cast<double>(gpus), static_cast<double>(nodes), static_cast<double>(per_node),
          network.efficiency * network.intra_bandwidth,
          network.efficiency * network.adapters * network.inter_bandwidth};
}

double tree_depth(double nodes) {
  return std::ceil(std::log2(nodes));
}

double ring_seconds(const NetworkModel& net, const Cluster& c, double bytes) {
  return 2 * (c.gpus - c.nodes) * net.intra_latency + 2 * (c.nodes - 1) * net.inter_latency +
         2 * (c.gpus - 1) / c.gpus * bytes / c.flat();
}

double tree_seconds(const NetworkModel& net, const Cluster& c, double bytes) {
  return 2 * (c.per_node - 1) * net.intra_latency + 2 * tree_depth(c.nodes) * net.inter_latency +
         2 * bytes / c.flat();
}

double hierarchical_seconds(const NetworkModel& net, const Cluster& c, double bytes) {
  double seconds = 0;
  if (c.per_node > 1) {
    seconds += 2 * (c.per_node - 1) * net.intra_latency + 2 * (c.per_node - 1) / c.per_node * bytes / c.intra;
  }
  if (c.nodes > 1) {
    const double ring = 2 * (c.nodes - 1) * net.inter_latency + 2 * (c.nodes - 1) / c.nodes * bytes / c.inter;
    const double tree = 2 * tree_depth(c.nodes) * net.inter_latency + 2 * bytes / c.inter;
    seconds += std::min(ring, tree);
  }
  return seconds;
}

double seconds_by(AllReduceAlgorithm algorithm, const NetworkModel& net, const Cluster& c, double bytes) {
  switch (algorithm) {
    case AllReduceAlgorithm::kRing:
      return ring_seconds(net, c, bytes);
    case AllReduceAlgorithm::kTree:
      return tree_seconds(net, c, bytes);
    case AllReduceAlgorithm::kHierarchical:
      return hierarchical_seconds(net, c, bytes);
    case AllReduceAlgorithm::kAuto:
      break;
  }
  fail(ErrorKind::kInternal, "auto is no algorithm of its own");
}

}  // namespace

std::string_view algorithm_name(AllReduceAlgorithm algorithm) {
  constexpr std::array<std::string_view, 4> kNames = {"auto", "ring", "tree", "hierarchical"};
  return kNames.at(static_cast<size_t>(algorithm));
}

AllReduceTime all_reduce_time(const NetworkModel& network, int gpus, size_t bytes) {
  const Cluster cluster = cluster_of(network, gpus);
  if (gpus == 1) return {};
  AllReduceTime best{INFINITY, network.algorithm};
  for (const AllReduceAlgorithm algorithm :
       {AllReduceAlgorithm::kRing, AllReduceAlgorithm::kTree, AllReduceAlgorithm::kHierarchical}) {
    if (network.algorithm != AllReduceAlgorithm::kAuto && network.algorithm != algorithm) continue;
    const double seconds =
        network.base_latency + seconds_by(algorithm, network, cluster, static_cast<double>(bytes));
    if (seconds < best.seconds) best = {seconds, algorithm};
  }
  return best;
}

}  // namespace residuum
