#include "bench/results.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>

#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"

namespace residuum::bench {
namespace {

using Json = nlohmann::ordered_json;

Measurement with_spread(std::string key, const Json& statistics, bool more_is_better) {
  return {std::move(key),
          number_of(statistics, "median"),
          number_of(statistics, "p20"),
          number_of(statistics, "p80"),
          more_is_better,
          {}};
}

std::vector<Measurement> kernels(const Json& report) {
  std::vector<Measurement> list;
  for (const Json& row : report.at("rows")) {
    const std::string key =
        fmt::format("{}, {}, {} by {}", text_of(row, "problem"), text_of(row, "precision"),
                    text_of(row, "operation"), text_of(row, "implementation"));
    const std::string status = text_of(row, "status");
    if (status == "measured") {
      list.push_back(with_spread(key, row.at("replay_us"), false));
    } else if (status != "unavailable") {
      list.push_back({key, 0, 0, 0, false, fmt::format("{}: {}", status, text_of(row, "reason"))});
    }
  }
  return list;
}

std::string step_key(const Json& row) {
  return fmt::format("{}, batch {}, {}", text_of(row, "model"), text_of(row, "batch"),
                     text_of(row, "precision"));
}

std::vector<Measurement> step(const Json& report) {
  return {{fmt::format("{}, {}", step_key(report), text_of(report, "data")),
           number_of(report, "median_seconds"),
           number_of(report, "p20_seconds"),
           number_of(report, "p80_seconds"),
           false,
           {}}};
}

std::vector<Measurement> data(const Json& report) {
  std::vector<Measurement> list;
  for (const Json& row : report.at("rows")) {
    list.push_back(with_spread(fmt::format("{}, {}, {} threads", text_of(row, "format"),
                                           text_of(row, "transform"), text_of(row, "threads")),
                               row.at("images_per_second"), true));
  }
  return list;
}

/// The spread of a side are its slowest and fastest round.
Measurement side(std::string key, const Json& json) {
  Measurement measurement{std::move(key), number_of(json, "images_per_second"), 0, 0, true, {}};
  measurement.low = measurement.high = measurement.value;
  for (const Json& run : json.at("runs")) {
    measurement.low = std::min(measurement.low, number_of(run, "images_per_second"));
    measurement.high = std::max(measurement.high, number_of(run, "images_per_second"));
  }
  return measurement;
}

std::vector<Measurement> peers(const Json& report) {
  std::vector<Measurement> list;
  for (const Json& row : report.at("rows")) {
    const std::string variant = our_variant(row) == "plain" ? "" : " " + our_variant(row);
    list.push_back(side(fmt::format("{}, ours{}", step_key(row), variant), row.at("ours")));
    for (const Json& peer : row.at("peers")) {
      list.push_back(side(fmt::format("{}, PyTorch {}", step_key(row), text_of(peer, "name")), peer));
    }
  }
  return list;
}

std::vector<Measurement> sums(const Json& report) {
  std::vector<Measurement> list;
  for (const Json& row : report.at("sizes")) {
    list.push_back(
        with_spread(fmt::format("{} bytes over {} ranks", text_of(row, "bytes"), text_of(report, "ranks")),
                    row.at("time_us"), false));
  }
  return list;
}

Change change_of(const Measurement& before, const Measurement& after, double tolerance) {
  Change change{after.key, 0, 0, false, after.failure};
  if (!after.failure.empty()) {
    change.regression = before.failure.empty();
    return change;
  }
  if (!before.failure.empty()) {
    change.speed = 1;
    return change;
  }
  change.speed = after.more_is_better ? after.value / before.value : before.value / after.value;
  change.noise = ((after.high - after.low) / after.value + (before.high - before.low) / before.value) / 2;
  const bool apart = after.more_is_better ? after.high < before.low : after.low > before.high;
  change.regression = apart && change.speed < 1 - tolerance;
  return change;
}

}  // namespace

double number_of(const Json& json, const char* key) {
  return json.at(key).get<double>();
}

std::string text_of(const Json& json, const char* key) {
  return json.at(key).is_string() ? json.at(key).get<std::string>() : json_text(json.at(key));
}

std::span<const std::string_view> report_kinds() {
  static constexpr std::array<std::string_view, 5> kKinds = {"kernels", "step", "data", "peers", "allreduce"};
  return kKinds;
}

bool is_report_kind(std::string_view kind) {
  return std::ranges::find(report_kinds(), kind) != report_kinds().end();
}

std::string kind_of(const Json& report) {
  return report.is_object() && report.contains("kind") ? text_of(report, "kind") : "none";
}

std::vector<Measurement> measurements_of(const Json& report, const std::string& file) {
  try {
    const std::string kind = kind_of(report);
    if (kind == "kernels") return kernels(report);
    if (kind == "step") return step(report);
    if (kind == "data") return data(report);
    if (kind == "peers") return peers(report);
    if (kind == "allreduce") return sums(report);
    fail(ErrorKind::kData, "{}: its kind is '{}', allowed are {}", file, kind,
         fmt::join(report_kinds(), ", "));
  } catch (const Json::exception& error) {
    fail(ErrorKind::kData, "{}: not what a benchmark writes: {}", file, error.what());
  }
}

std::string our_variant(const Json& row) {
  return row.contains("variant") ? text_of(row, "variant") : "plain";
}

Json read_report(const std::filesystem::path& file) {
  constexpr uint64_t kLargest = uint64_t{256} << 20;
  try {
    return parse_json<Json>(read_text_file(file, kLargest));
  } catch (const Json::exception& error) {
    fail(ErrorKind::kData, "{}: {}", file.string(), error.what());
  }
}

bool ResultComparison::has_regression() const {
  return std::any_of(changes.begin(), changes.end(), [](const Change& change) { return change.regression; });
}

ResultComparison compare_results(const std::vector<Measurement>& before,
                                 const std::vector<Measurement>& after, double tolerance) {
  std::map<std::string, const Measurement*> old, fresh;
  for (const Measurement& m : before) old[m.key] = &m;
  for (const Measurement& m : after) fresh[m.key] = &m;
  ResultComparison comparison;
  for (const Measurement& m : after) {
    if (fresh[m.key] != &m) continue;  // the last one of a key counts
    if (const auto found = old.find(m.key); found != old.end()) {
      comparison.changes.push_back(change_of(*found->second, m, tolerance));
    } else {
      comparison.only_new.push_back(m.key);
    }
  }
  for (const auto& [key, m] : old) {
    if (!fresh.contains(key)) comparison.only_old.push_back(key);
  }
  std::stable_sort(comparison.changes.begin(), comparison.changes.end(),
                   [](const Change& a, const Change& b) { return a.speed < b.speed; });
  return comparison;
}

std::string to_text(const ResultComparison& comparison) {
  std::string text = fmt::format("{:>8} {:>7}  what\n", "speed", "noise");
  for (const Change& change : comparison.changes) {
    const char* const mark = change.regression ? "  REGRESSION" : "";
    text +=
        change.failure.empty()
            ? fmt::format("{:>8.3f} {:>6.1f}%  {}{}\n", change.speed, 100 * change.noise, change.key, mark)
            : fmt::format("{:>8} {:>7}  {}: {}{}\n", "-", "-", change.key, change.failure, mark);
  }
  for (const std::string& key : comparison.only_old) text += fmt::format("only in the old file: {}\n", key);
  for (const std::string& key : comparison.only_new) text += fmt::format("only in the new file: {}\n", key);
  const auto slower = std::count_if(comparison.changes.begin(), comparison.changes.end(),
                                    [](const Change& change) { return change.regression; });
  return text + fmt::format(
                    "{} compared, {} regressions; speed: new over old, above 1 is faster; noise: half the "
                    "spread of both\n",
                    comparison.changes.size(), slower);
}

}  // namespace residuum::bench
