// Three writers of the same lines. metrics.csv is rebuilt from metrics.jsonl when the log is opened and
// whenever a new metric adds a column.
#include "engine/train/metrics_log.h"

#include <fmt/format.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <string_view>

#include "engine/core/check.h"
#include "engine/core/csv.h"
#include "engine/core/json.h"
#include "engine/core/log.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;  // keeps the order of the metrics

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Json make_line(int64_t step, int64_t epoch, const Metrics& metrics, double wall_time) {
  Json line = {{"step", step}, {"epoch", epoch}, {"wall_time", wall_time}};
  for (const auto& [name, value] : metrics) {
    check(!line.contains(name), ErrorKind::kInternal, "metric '{}' is logged twice in one line", name);
    line[name] = std::isfinite(value) ? Json(value) : Json(nullptr);
  }
  return line;
}

// Calls visit(text, parsed line) for every whole line; returns the number of others, as a kill leaves them at
// the end.
template <typename Visit>
int for_each_line(const std::filesystem::path& path, Visit visit) {
  const std::string content = read_text_file(path);
  int damaged = 0;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view text = std::string_view(content).substr(begin, end - begin);
    const Json line = try_parse_json<Json>(text);
    const bool is_whole = line.is_object() && line.contains("step") && line["step"].is_number_integer();
    if (is_whole) visit(text, line);
    if (!is_whole) ++damaged;
    begin = end + 1;
  }
  return damaged;
}

/// Whether a metric's name begins with `prefix`; never for an empty one.
bool has_metric(const Json& line, std::string_view prefix) {
  if (prefix.empty()) return false;
  const auto items = line.items();
  return std::any_of(items.begin(), items.end(),
                     [&](const auto& item) { return std::string_view(item.key()).starts_with(prefix); });
}

std::string csv_header(const std::vector<std::string>& columns) {
  std::vector<std::string> fields;
  for (const std::string& column : columns) fields.push_back(csv_field(column));
  return fmt::format("{}\n", fmt::join(fields, ","));
}

std::string csv_row(const Json& line, const std::vector<std::string>& columns) {
  std::vector<std::string> fields;
  for (const std::string& column : columns) {
    const auto value = line.find(column);
    fields.push_back(value == line.end() ? "" : value->is_null() ? "nan" : value->dump());
  }
  return fmt::format("{}\n", fmt::join(fields, ","));
}

}  // namespace

std::vector<nlohmann::ordered_json> read_metrics(const std::filesystem::path& file) {
  std::vector<Json> lines;
  for_each_line(file, [&](std::string_view, const Json& line) { lines.push_back(line); });
  return lines;
}

MetricsLog::MetricsLog(std::filesystem::path directory, int64_t resumed_step, std::string_view redone)
    : directory_(std::move(directory)) {
  make_directories(directory_);
  sweep_temporaries(directory_);
  drop_lines_after(resumed_step, redone);
  json_.emplace(json_path());
  rebuild_csv();
  events_.emplace(directory_);
  if (resumed_step >= 0) events_->restart_at(resumed_step + 1, seconds_now());
}

void MetricsLog::write(int64_t step, int64_t epoch, const Metrics& metrics) {
  const double wall_time = seconds_now();
  const Json line = make_line(step, epoch, metrics, wall_time);
  try_io([&] { json_->write(json_text(line) + "\n"); });
  try_io([&] { write_csv(line); });
  try_io([&] {
    for (const auto& [name, value] : metrics) events_->add_scalar(name, value, step, wall_time);
  });
}

void MetricsLog::sync() {
  try_io([&] { json_->sync(); });
  try_io([&] {
    if (csv_) csv_->sync();
  });
  try_io([&] { events_->sync(); });
}

void MetricsLog::drop_lines_after(int64_t step, std::string_view redone) {
  std::string kept;
  if (std::filesystem::exists(json_path())) {
    const int damaged = for_each_line(json_path(), [&](std::string_view text, const Json& line) {
      const int64_t found = line["step"].get<int64_t>();
      const bool again = found == step && has_metric(line, redone);
      if (found <= step && !again) kept.append(text).push_back('\n');
    });
    if (damaged > 0) log_warning("{}: {} incomplete lines are dropped", json_path().string(), damaged);
  }
  write_file_atomically(json_path(), kept);
}

void MetricsLog::write_csv(const Json& line) {
  const auto is_known = [&](const auto& item) {
    return std::ranges::find(columns_, item.key()) != columns_.end();
  };
  const auto items = line.items();
  if (!csv_ || !std::all_of(items.begin(), items.end(), is_known)) {
    rebuild_csv();
  } else {
    csv_->write(csv_row(line, columns_));
  }
}

void MetricsLog::rebuild_csv() {
  csv_.reset();
  columns_ = {"step", "epoch", "wall_time"};
  const std::vector<Json> lines = read_metrics(json_path());
  for (const Json& line : lines) {
    for (const auto& item : line.items()) {
      if (std::ranges::find(columns_, item.key()) == columns_.end()) columns_.push_back(item.key());
    }
  }
  std::string table = csv_header(columns_);
  for (const Json& line : lines) table += csv_row(line, columns_);
  write_file_atomically(csv_path(), table);
  csv_.emplace(csv_path());
}

template <typename Action>
void MetricsLog::try_io(Action action) {
  try {
    action();
  } catch (const Error& error) {
    if (!warned_) log_warning("metrics are incomplete from here on, training goes on: {}", error.what());
    warned_ = true;
  }
}

}  // namespace residuum
