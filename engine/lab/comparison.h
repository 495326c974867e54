// Comparisons of nets by training them: cases, each run with several seeds, their errors side by side.
// Invariant: a run that has finished is a file and is never repeated while its recipe and data stay the same;
// one that was cut off continues from its last state. All errors are in percent.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/data/dataset.h"
#include "engine/train/model_builder.h"
#include "engine/train/recipe.h"

namespace residuum {

/// One net of a comparison.
struct ComparisonCase {
  std::string name;                    ///< "exclusive gate, bias -6"
  std::vector<std::string> overrides;  ///< of recipe keys
  std::optional<double> published;     ///< test error
  bool published_failure = false;      ///< a test error above 20, of which no figure was printed
};

/// A point of a run's curves; what was not measured there is nothing.
struct CurvePoint {
  int64_t step = 0;
  std::optional<double> train_loss, train_error, test_error;
};

/// One training.
struct CaseRun {
  int64_t seed = 0;
  bool diverged = false;                   ///< loss or gradients were not finite: the errors are those before
  double train_loss = 0, train_error = 0;  ///< means over the last tenth of the steps, of training batches
  double test_error = 0, best_test_error = 0;
  std::vector<CurvePoint> curve;
};

struct MeanAndStd {
  double mean = 0, std = 0;  ///< the sample's, n - 1; 0 for one run
};

struct CaseResult {
  ComparisonCase definition;
  std::vector<CaseRun> runs;

  MeanAndStd of(double CaseRun::*member) const;
};

struct ComparisonSetup {
  std::function<Recipe(const ComparisonCase&, int64_t seed)> recipe;
  std::function<ModelBuilder(const Recipe&)> builder;
  const Dataset& train_data;
  const Dataset& test_data;
  std::string data_name;  ///< what decides the data: a finished run with another one is refused
  Backend& backend;
  std::filesystem::path out;
  int64_t seeds = 1;                                 ///< 1 .. seeds
  std::function<void(const std::string&)> progress;  ///< hears of each run; may be empty
};

struct ComparisonResult {
  bool interrupted = false;  ///< by a signal: what is finished is in `cases`
  std::vector<CaseResult> cases;
};

/// Trains what is not finished yet, in OUT/runs/CASE/seed-N, and collects all results. Throws Error(kConfig)
/// when OUT holds a finished run of another recipe or other data, and what train() throws, but not for
/// numbers that are not finite.
ComparisonResult run_comparison(const std::vector<ComparisonCase>& cases, const ComparisonSetup& setup);

/// "exclusive-gate-bias-6": letters, digits and single hyphens, for directories.
std::string case_directory(const std::string& name);

}  // namespace residuum
