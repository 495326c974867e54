// How long an all-reduce takes, by the alpha-beta model: a latency for each hop, a bandwidth for the bytes.
// Nodes hold the same number of GPUs each; nothing else uses the links.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace residuum {

enum class AllReduceAlgorithm {
  kAuto,          ///< the fastest of the others for each message, as NCCL chooses
  kRing,          ///< over all GPUs; rings through every adapter of a node carry a part each
  kTree,          ///< a chain within each node, a double binary tree between nodes
  kHierarchical,  ///< ring reduce-scatter within nodes, ring or tree between, ring all-gather within
};
std::string_view algorithm_name(AllReduceAlgorithm algorithm);

struct NetworkModel {
  int gpus_per_node = 8;
  double intra_bandwidth = 0;  ///< bytes/s that a GPU sends, and receives, within its node
  double intra_latency = 0;    ///< seconds a hop within a node
  double inter_bandwidth = 0;  ///< bytes/s of one network adapter, each way; 0: one node only
  double inter_latency = 0;    ///< seconds a hop between nodes
  int adapters = 1;            ///< of a node
  double base_latency = 0;     ///< seconds a collective takes to begin
  double efficiency = 1;       ///< part of the bandwidths that a collective reaches
  AllReduceAlgorithm algorithm = AllReduceAlgorithm::kAuto;
};

/// Reads "nvlink4+ib400x8", "pcie4,gpus_per_node=4" or key=value alone, parted by commas; later values
/// replace those of the preset. Throws Error(kConfig) naming what is unknown or out of range, and what is
/// allowed.
NetworkModel parse_network(std::string_view spec);

/// Presets and keys with what they stand for, for help texts.
std::string describe_networks();

/// Each value with its meaning, in words: what a result of the model rests on.
std::vector<std::pair<std::string, std::string>> assumptions_of(const NetworkModel& network);

struct AllReduceTime {
  double seconds = 0;
  AllReduceAlgorithm algorithm = AllReduceAlgorithm::kRing;  ///< the one it is of, never kAuto
};

/// The sum of `bytes` over `gpus` GPUs; 0 seconds for one GPU. With n GPUs in N nodes of g, latencies a and A
/// within and between nodes, bandwidths b = efficiency * intra and B = efficiency * adapters * inter, c =
/// min(b, B), or of the one kind of link there is:
///   ring          2 (n - N) a + 2 (N - 1) A + 2 (n - 1) / n * bytes / c
///   tree          2 (g - 1) a + 2 ceil(log2 N) A + 2 * bytes / c
///   hierarchical  2 (g - 1) a + 2 (g - 1) / g * bytes / b + the faster of
///                 2 (N - 1) A + 2 (N - 1) / N * bytes / B and 2 ceil(log2 N) A + 2 * bytes / B
/// each and base_latency. The counts of hops are those of NCCL's tuning model (src/graph/tuning.cc).
/// Throws Error(kConfig) for GPUs that do not fill nodes, or several nodes without a link between them.
AllReduceTime all_reduce_time(const NetworkModel& network, int gpus, size_t bytes);

}  // namespace residuum
