// The results of a comparison as text, JSON, CSV and a page. Invariant: all four show the same means.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/lab/comparison.h"

namespace residuum {

struct ComparisonReport {
  std::string analysis;       ///< "table1"
  std::string title, source;  ///< of the printed figures
  std::string data, device;
  int64_t steps = 0, batch = 0;
  bool random_labels = false;
  std::string recipe;   ///< of the first case
  std::string command;  ///< what was typed
  std::vector<CaseResult> cases;
};

/// A line for each case: training and test error, mean +- deviation, and what is printed.
std::string to_text(const ComparisonReport& report);

/// {"analysis", "data", "device", "steps", "batch", "random_labels", "source", "cases": [{"name",
/// "overrides", "train_loss": {"mean", "std"}, "train_error", "test_error", "best_test_error", "published",
/// "published_failure", "diverged", "runs": [{"seed", "diverged", ..., "curve": [...]}]}]}. Errors in
/// percent.
nlohmann::ordered_json to_json(const ComparisonReport& report);

/// Writes OUT/ANALYSIS.json, ANALYSIS.csv, curves.csv, each table and figure in ANALYSIS-csv, where this
/// build can ANALYSIS.html, and with `png` the figures in ANALYSIS-png.
void write_report(const ComparisonReport& report, const std::filesystem::path& out, bool png);

}  // namespace residuum
