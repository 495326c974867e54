// Networks by name: nominal rates of the links, latencies as NCCL assumes them.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "engine/comm/network_model.h"
#include "engine/core/check.h"
#include "engine/core/quantity.h"

namespace residuum {
namespace {

// Hops of a ring with the Simple protocol, and the start of a collective, in NCCL 2.12's src/graph/tuning.cc.
constexpr double kNvlinkHop = 3.4e-6, kPcieHop = 5.7e-6, kNetworkHop = 9.6e-6, kCollective = 8.4e-6;

struct LinkPreset {
  std::string_view name;
  double bandwidth;  ///< bytes/s each way
  double latency;    ///< seconds a hop
  std::string_view help;
};

constexpr std::array kIntra = {
    LinkPreset{"nvlink5", 900e9, kNvlinkHop, "B200: 18 links of 50 GB/s each way"},
    LinkPreset{"nvlink4", 450e9, kNvlinkHop, "H100, H200: 18 links of 25 GB/s each way"},
    LinkPreset{"nvlink3", 300e9, kNvlinkHop, "A100: 12 links of 25 GB/s each way"},
    LinkPreset{"pcie5", 63e9, kPcieHop, "16 lanes of 32 GT/s"},
    LinkPreset{"pcie4", 31.5e9, kPcieHop, "16 lanes of 16 GT/s"},
};
constexpr std::array kInter = {
    LinkPreset{"ib400", 50e9, kNetworkHop, "InfiniBand NDR, 400 Gb/s an adapter"},
    LinkPreset{"ib200", 25e9, kNetworkHop, "InfiniBand HDR, 200 Gb/s"},
    LinkPreset{"ib100", 12.5e9, kNetworkHop, "InfiniBand EDR, 100 Gb/s"},
    LinkPreset{"eth100", 12.5e9, kNetworkHop, "Ethernet, 100 Gb/s"},
    LinkPreset{"eth25", 3.125e9, kNetworkHop, "Ethernet, 25 Gb/s"},
    LinkPreset{"eth10", 1.25e9, kNetworkHop, "Ethernet, 10 Gb/s"},
};
constexpr std::array kAlgorithms = {AllReduceAlgorithm::kAuto, AllReduceAlgorithm::kRing,
                                    AllReduceAlgorithm::kTree, AllReduceAlgorithm::kHierarchical};

struct NetworkKey {
  std::string_view name, help;
  std::function<void(NetworkModel&, std::string_view what, std::string_view text)> set;
};

int whole_number(std::string_view what, std::string_view text) {
  const double value = parse_number(what, text);
  check(value >= 1 && value <= 1 << 20 && value == std::floor(value), ErrorKind::kConfig,
        "{} is '{}', but must be an integer 1 to 1048576", what, text);
  return static_cast<int>(value);
}

AllReduceAlgorithm algorithm_named(std::string_view what, std::string_view text) {
  std::vector<std::string_view> names;
  for (const AllReduceAlgorithm algorithm : kAlgorithms) {
    names.push_back(algorithm_name(algorithm));
    if (text == names.back()) return algorithm;
  }
  fail(ErrorKind::kConfig, "{} is '{}', but must be one of {}", what, text, fmt::join(names, ", "));
}

const std::vector<NetworkKey>& network_keys() {
  using View = std::string_view;
  static const std::vector<NetworkKey> kKeys = {
      {"gpus_per_node", "GPUs of a node",
       [](auto& n, View w, View t) { n.gpus_per_node = whole_number(w, t); }},
      {"intra_bw", "bandwidth of a GPU within its node, each way: 450GB/s",
       [](auto& n, View w, View t) { n.intra_bandwidth = parse_quantity(w, t, byte_rates()); }},
      {"intra_latency", "of a hop within a node: 3.4us",
       [](auto& n, View w, View t) { n.intra_latency = parse_quantity(w, t, times()); }},
      {"inter_bw", "bandwidth of a network adapter, each way: 400Gb/s",
       [](auto& n, View w, View t) { n.inter_bandwidth = parse_quantity(w, t, byte_rates()); }},
      {"inter_latency", "of a hop between nodes: 9.6us",
       [](auto& n, View w, View t) { n.inter_latency = parse_quantity(w, t, times()); }},
      {"adapters", "network adapters of a node",
       [](auto& n, View w, View t) { n.adapters = whole_number(w, t); }},
      {"base_latency", "of a collective, before its first hop: 8.4us",
       [](auto& n, View w, View t) { n.base_latency = parse_quantity(w, t, times()); }},
      {"efficiency", "part of the bandwidths that is reached: 0.8",
       [](auto& n, View w, View t) { n.efficiency = parse_share(w, t); }},
      {"algorithm", "auto, ring, tree or hierarchical",
       [](auto& n, View w, View t) { n.algorithm = algorithm_named(w, t); }},
  };
  return kKeys;
}

template <typename Presets>
const LinkPreset& preset_named(const Presets& presets, std::string_view kind, std::string_view name) {
  const auto found =
      std::find_if(presets.begin(), presets.end(), [&](const auto& p) { return p.name == name; });
  if (found != presets.end()) return *found;
  std::vector<std::string_view> names;
  for (const LinkPreset& preset : presets) names.push_back(preset.name);
  fail(ErrorKind::kConfig, "--network: there is no link '{}' {} nodes; those known are {}", name, kind,
       fmt::join(names, ", "));
}

/// "nvlink4", "nvlink4+ib400", "nvlink4+ib400x8"
void apply_preset(NetworkModel& network, std::string_view name) {
  const size_t plus = name.find('+');
  const LinkPreset& intra = preset_named(kIntra, "within", name.substr(0, plus));
  network.intra_bandwidth = intra.bandwidth;
  network.intra_latency = intra.latency;
  if (plus == std::string_view::npos) return;
  std::string_view rest = name.substr(plus + 1);
  if (const size_t times = rest.find('x'); times != std::string_view::npos) {
    network.adapters = whole_number("--network: the number of adapters", rest.substr(times + 1));
    rest = rest.substr(0, times);
  }
  const LinkPreset& inter = preset_named(kInter, "between", rest);
  network.inter_bandwidth = inter.bandwidth;
  network.inter_latency = inter.latency;
}

void apply_key(NetworkModel& network, std::string_view name, std::string_view value) {
  std::vector<std::string_view> names;
  for (const NetworkKey& key : network_keys()) {
    names.push_back(key.name);
    if (key.name == name) return key.set(network, fmt::format("--network: {}", name), value);
  }
  fail(ErrorKind::kConfig, "--network: there is no key '{}'; those known are {}", name,
       fmt::join(names, ", "));
}

std::string rate_text(double bytes_per_second) {
  return fmt::format("{:.4g} GB/s", bytes_per_second / 1e9);
}

std::string time_text(double seconds) {
  return fmt::format("{:.4g} us", seconds * 1e6);
}

}  // namespace

NetworkModel parse_network(std::string_view spec) {
  NetworkModel network;
  network.base_latency = kCollective;
  parse_preset_and_keys(
      "--network", spec, [&](std::string_view name) { apply_preset(network, name); },
      [&](std::string_view key, std::string_view value) { apply_key(network, key, value); });
  check(network.intra_bandwidth > 0 || network.gpus_per_node == 1, ErrorKind::kConfig,
        "--network: '{}' names no link within nodes: begin with a preset or set intra_bw", spec);
  return network;
}

std::string describe_networks() {
  std::string text =
      "Networks: WITHIN, WITHIN+BETWEEN or WITHIN+BETWEENxADAPTERS, then keys, parted by commas:\n";
  for (const LinkPreset& preset : kIntra)
    text += fmt::format("  {:<14} within a node; {}\n", preset.name, preset.help);
  for (const LinkPreset& preset : kInter)
    text += fmt::format("  {:<14} between nodes; {}\n", preset.name, preset.help);
  for (const NetworkKey& key : network_keys()) text += fmt::format("  {:<14} {}\n", key.name, key.help);
  return text + "Bandwidths of presets are nominal; latencies are those of NCCL's tuning model.\n";
}

std::vector<std::pair<std::string, std::string>> assumptions_of(const NetworkModel& network) {
  std::vector<std::pair<std::string, std::string>> list = {
      {"GPUs per node", fmt::format("{}", network.gpus_per_node)},
      {"link within a node", fmt::format("{} each way a GPU, {} a hop", rate_text(network.intra_bandwidth),
                                         time_text(network.intra_latency))}};
  if (network.inter_bandwidth > 0) {
    list.emplace_back(
        "link between nodes",
        fmt::format("{} of {} each way a node, {} a hop",
                    network.adapters == 1 ? "1 adapter" : fmt::format("{} adapters", network.adapters),
                    rate_text(network.inter_bandwidth), time_text(network.inter_latency)));
  }
  list.emplace_back("bandwidth reached", fmt::format("{:.4g} of nominal", network.efficiency));
  list.emplace_back("start of a collective", time_text(network.base_latency));
  list.emplace_back("all-reduce", network.algorithm == AllReduceAlgorithm::kAuto
                                      ? "the fastest of ring, tree and hierarchical for each bucket"
                                      : std::string(algorithm_name(network.algorithm)));
  list.emplace_back("other traffic", "none on these links");
  return list;
}

}  // namespace residuum
