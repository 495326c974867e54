#include "tools/run_record.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/train/metrics_log.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

fs::path file_of_run(const fs::path& directory, const char* name) {
  check(fs::is_regular_file(directory / name), ErrorKind::kData,
        "{} is no directory of a training run: it has no {}", directory.string(), name);
  return directory / name;
}

nlohmann::ordered_json read_environment(const fs::path& file) {
  auto environment = try_parse_json<nlohmann::ordered_json>(read_text_file(file));
  check(environment.is_object(), ErrorKind::kData, "{} is not a JSON object", file.string());
  return environment;
}

}  // namespace

Series RunRecord::series(const std::string& metric) const {
  Series series;
  for (const auto& line : metrics) {
    const auto value = line.find(metric);
    if (value == line.end()) continue;
    series.steps.push_back(line["step"].get<double>());
    series.values.push_back(value->is_number() ? value->get<double>()
                                               : std::numeric_limits<double>::quiet_NaN());
  }
  return series;
}

std::optional<double> RunRecord::last(const std::string& metric) const {
  const Series values = series(metric);
  const auto finite = std::find_if(values.values.rbegin(), values.values.rend(),
                                   [](double value) { return std::isfinite(value); });
  return finite == values.values.rend() ? std::nullopt : std::optional(*finite);
}

std::optional<BestValue> RunRecord::best(const std::string& metric) const {
  const Series values = series(metric);
  std::optional<BestValue> best;
  for (size_t i = 0; i < values.values.size(); ++i) {
    if (!std::isfinite(values.values[i]) || (best && values.values[i] <= best->value)) continue;
    best = BestValue{values.steps[i], values.values[i]};
  }
  return best;
}

std::optional<double> RunRecord::images_per_second() const {
  const Series paces = series("train/images_per_second");
  double steps = 0, time = 0, before = 0;  // time: in units of a step's images at one a second
  for (size_t i = 0; i < paces.values.size(); ++i) {
    const double count = paces.steps[i] - before;
    before = paces.steps[i];
    if (!std::isfinite(paces.values[i]) || paces.values[i] <= 0 || count <= 0) continue;
    steps += count;
    time += count / paces.values[i];
  }
  return time > 0 ? std::optional(steps / time) : std::nullopt;
}

RunRecord read_run(const fs::path& directory) {
  RunRecord run;
  run.directory = directory;
  run.name = fs::absolute(directory / "").parent_path().filename().string();
  run.recipe = load_recipe(file_of_run(directory, "recipe.toml"));
  run.environment = read_environment(file_of_run(directory, "environment.json"));
  run.metrics = read_metrics(file_of_run(directory, "metrics.jsonl"));
  return run;
}

std::vector<RunRecord> read_runs(const std::vector<std::string>& directories) {
  std::vector<RunRecord> runs;
  std::map<std::string, int> uses;
  for (const std::string& directory : directories) ++uses[runs.emplace_back(read_run(directory)).name];
  for (RunRecord& run : runs) {
    if (uses[run.name] > 1) run.name = run.directory.string();
  }
  return runs;
}

}  // namespace residuum
