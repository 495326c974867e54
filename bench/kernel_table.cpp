// Rows of kernels.h as JSON and as a table.
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

#include "bench/kernels.h"

namespace residuum::bench {
namespace {

using Json = nlohmann::ordered_json;

/// What follows from a row's time and the ceilings.
struct Derived {
  double tflops = 0, gbytes = 0, roofline_share = 0;
  bool memory_bound = true;
};

Derived derived(const KernelRow& row, const Ceilings& ceilings) {
  const double bytes = static_cast<double>(row.cost.bytes()), flops = static_cast<double>(row.cost.flops),
               seconds = row.replay.median;
  return {flops / seconds * 1e-12, bytes / seconds * 1e-9, ceilings.seconds_for(bytes, flops) / seconds,
          ceilings.memory_bound(bytes, flops)};
}

std::string time_text(const Statistics& seconds) {
  return fmt::format("{:.1f} ({:.1f}-{:.1f})", seconds.median * 1e6, seconds.p20 * 1e6, seconds.p80 * 1e6);
}

std::string shape_text(const Problem& problem) {
  const std::string line = to_string(problem);
  return line.substr(line.find(' ', line.find(' ') + 1) + 1);
}

std::string line_of(const KernelRow& row, const Ceilings& ceilings, size_t width) {
  const std::string head =
      fmt::format("{:<{}}  {:<26} {:<7}", row.problem.name, width, row.operation, row.implementation);
  if (row.status != RowStatus::kMeasured) {
    return fmt::format("{} {}: {}\n", head,
                       row.status == RowStatus::kWrong ? "FAILED, wrong result" : to_string(row.status),
                       row.reason);
  }
  const Derived d = derived(row, ceilings);
  const std::string speed_up = row.peer.empty() ? "" : fmt::format("{:.2f}x {}", row.speed_up, row.peer);
  return fmt::format(
      "{} {:>26} {:>11.1f} {:>8.3f} {:>4.0f}% {:>8.1f} {:>4.0f}% {:>4.0f}% {:<7} {:>9.1e} {:<13} {}\n", head,
      time_text(row.replay), row.cold.median * 1e6, d.tflops,
      100 * d.tflops * 1e12 / ceilings.flops_per_second, d.gbytes,
      100 * d.gbytes * 1e9 / ceilings.copy_bytes_per_second, 100 * d.roofline_share,
      d.memory_bound ? "memory" : "compute", row.verdict.error, speed_up, shape_text(row.problem));
}

/// Seconds over the whole net by operation and implementation, of operations with a full set of measurements.
std::string sums_text(const std::vector<KernelRow>& rows) {
  struct Sum {
    double seconds = 0;
    bool whole = true;
  };
  std::vector<std::string> operations;
  std::map<std::string, std::map<std::string, Sum>> sums;
  for (const KernelRow& row : rows) {
    if (!sums.contains(row.operation)) operations.push_back(row.operation);
    Sum& sum = sums[row.operation][row.implementation];
    sum.seconds += row.replay.median * static_cast<double>(row.problem.times);
    sum.whole &= row.status == RowStatus::kMeasured;
  }
  std::string text;
  for (const std::string& operation : operations) {
    std::string line;
    for (const auto& [implementation, sum] : sums[operation]) {
      if (sum.whole) line += fmt::format("  {} {:.1f} us", implementation, sum.seconds * 1e6);
    }
    if (!line.empty()) text += fmt::format("{:<26}{}\n", operation, line);
  }
  return text.empty() ? text : "\nsum over the layers, times counted:\n" + text;
}

}  // namespace

Json to_json(const KernelRow& row, const Ceilings& ceilings) {
  Json json = {{"problem", to_string(row.problem)},
               {"layer", row.problem.name},
               {"times", row.problem.times},
               {"operation", row.operation},
               {"implementation", row.implementation},
               {"precision", row.precision},
               {"status", to_string(row.status)},
               {"reason", row.reason.empty() ? Json(nullptr) : Json(row.reason)}};
  if (row.status == RowStatus::kMeasured || row.status == RowStatus::kWrong) {
    json["max_relative_error"] = row.verdict.error;
    json["allowed_error"] = row.verdict.allowed;
    json["checked_elements"] = row.verdict.checked;
  }
  if (row.status != RowStatus::kMeasured) return json;
  const Derived d = derived(row, ceilings);
  json["replay_us"] = to_json(row.replay, 1e6);
  json["cold_us"] = to_json(row.cold, 1e6);
  json["flops"] = row.cost.flops;
  json["bytes"] = row.cost.bytes();
  json["tflops"] = d.tflops;
  json["peak_share"] = d.tflops * 1e12 / ceilings.flops_per_second;
  json["gbytes_per_second"] = d.gbytes;
  json["copy_share"] = d.gbytes * 1e9 / ceilings.copy_bytes_per_second;
  json["roofline_share"] = d.roofline_share;
  json["bound"] = d.memory_bound ? "memory" : "compute";
  json["rank"] = row.rank;
  json["peer"] = row.peer.empty() ? Json(nullptr) : Json(row.peer);
  json["speed_up"] = row.peer.empty() ? Json(nullptr) : Json(row.speed_up);
  return json;
}

std::string to_text(const std::vector<KernelRow>& rows, const Ceilings& ceilings) {
  size_t width = 5;
  for (const KernelRow& row : rows) width = std::max(width, row.problem.name.size());
  std::string text =
      fmt::format("{:<{}}  {:<26} {:<7} {:>26} {:>11} {:>8} {:>5} {:>8} {:>5} {:>5} {:<7} {:>9} {:<13} {}\n",
                  "layer", width, "operation", "by", "us in replay (p20-p80)", "us cold", "TFLOP/s", "peak",
                  "GB/s", "copy", "roof", "bound", "error", "speed-up", "shape");
  for (const KernelRow& row : rows) text += line_of(row, ceilings, width);
  return text + sums_text(rows);
}

}  // namespace residuum::bench
