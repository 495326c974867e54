// What a training run left in its directory, read back: recipe.toml, environment.json and metrics.jsonl.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/train/recipe.h"

namespace residuum {

/// One metric over the run. A value that was not finite is NaN.
struct Series {
  std::vector<double> steps, values;
};

struct BestValue {
  double step = 0, value = 0;
};

struct RunRecord {
  std::filesystem::path directory;
  std::string name;  ///< the directory's own name; the whole path where two runs share one
  Recipe recipe;
  nlohmann::ordered_json environment;
  std::vector<nlohmann::ordered_json> metrics;  ///< lines of metrics.jsonl

  /// The values of "train/loss", "test/top1", ...; empty for a metric that the run has not.
  Series series(const std::string& metric) const;
  /// The last value of a metric that is finite.
  std::optional<double> last(const std::string& metric) const;
  /// The largest value of a metric, with the first step that has it.
  std::optional<BestValue> best(const std::string& metric) const;
  /// Of the training steps of the whole run, which its lines have in parts; nothing when it has none.
  std::optional<double> images_per_second() const;
};

/// Throws Error(kData) naming the directory, when it is not that of a run, and the file, when it is damaged.
RunRecord read_run(const std::filesystem::path& directory);

/// The same for several, with names that differ.
std::vector<RunRecord> read_runs(const std::vector<std::string>& directories);

}  // namespace residuum
