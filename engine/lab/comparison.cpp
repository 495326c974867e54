#include "engine/lab/comparison.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/train/metrics_observer.h"
#include "engine/train/resume.h"
#include "engine/train/trainer.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kResultFile = "result.json";

double error_of(double accuracy) {
  return 100 * (1 - accuracy);
}

std::optional<double> error_at(const Json& line, const char* metric) {
  const auto value = line.find(metric);
  if (value == line.end() || !value->is_number()) return std::nullopt;
  return error_of(value->get<double>());
}

/// The curves of a run from its metrics.jsonl; lines of averaged weights are not among them.
std::vector<CurvePoint> read_curve(const fs::path& directory) {
  std::vector<CurvePoint> curve;
  const fs::path file = directory / "metrics.jsonl";
  if (!fs::exists(file)) return curve;
  std::istringstream lines(read_text_file(file));
  for (std::string text; std::getline(lines, text);) {
    const Json line = try_parse_json<Json>(text);
    if (!line.is_object() || !line.contains("step")) continue;
    CurvePoint point{
        line["step"].get<int64_t>(), {}, error_at(line, "train/top1"), error_at(line, "test/top1")};
    const auto loss = line.find("train/loss");
    if (loss != line.end() && loss->is_number()) point.train_loss = loss->get<double>();
    if (point.train_loss || point.train_error || point.test_error) curve.push_back(point);
  }
  return curve;
}

/// The numbers of a run, as far as its curves go.
CaseRun summarize_run(int64_t seed, bool diverged, std::vector<CurvePoint> curve) {
  CaseRun run;
  run.seed = seed;
  run.diverged = diverged;
  run.test_error = run.best_test_error = 100;
  run.train_loss = std::nan("");
  run.train_error = 100;
  const int64_t last = curve.empty() ? 0 : curve.back().step;
  double losses = 0, errors = 0, count = 0;
  for (const CurvePoint& point : curve) {
    if (point.test_error) {
      run.test_error = *point.test_error;
      run.best_test_error = std::min(run.best_test_error, *point.test_error);
    }
    if (point.train_loss && point.train_error && 10 * point.step >= 9 * last) {
      losses += *point.train_loss;
      errors += *point.train_error;
      ++count;
    }
  }
  if (count > 0) {
    run.train_loss = losses / count;
    run.train_error = errors / count;
  }
  run.curve = std::move(curve);
  return run;
}

/// What decides a run's numbers.
std::string identity(const Recipe& recipe, const std::string& data_name) {
  return to_toml(deciding_part(recipe)) + "\n# data: " + data_name + "\n";
}

/// The finished run in `directory`, if there is one.
std::optional<CaseRun> finished_run(const fs::path& directory, const std::string& wanted, int64_t seed) {
  const fs::path file = directory / kResultFile;
  if (!fs::exists(file)) return std::nullopt;
  const Json json = try_parse_json<Json>(read_text_file(file));
  check(json.is_object() && json.contains("identity") && json.contains("diverged"), ErrorKind::kCheckpoint,
        "{} is damaged: remove it, or its directory", file.string());
  check(json["identity"] == wanted, ErrorKind::kConfig,
        "{} is of a run with another recipe or other data: take another --out, or remove its directory",
        file.string());
  return summarize_run(seed, json["diverged"].get<bool>(), read_curve(directory));
}

/// Trains one case; nothing when a signal cut it off.
std::optional<CaseRun> train_case(const Recipe& recipe, const ComparisonSetup& setup,
                                  const fs::path& directory, const std::string& wanted, int64_t seed) {
  MetricsObserver metrics;
  bool diverged = false;
  try {
    const TrainOptions options{directory, true, {&metrics}};
    const TrainResult result =
        train(recipe, setup.builder(recipe), setup.train_data, setup.test_data, setup.backend, options);
    if (result.interrupted) return std::nullopt;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kNumeric) throw;
    diverged = true;
  }
  const Json json = {{"identity", wanted}, {"diverged", diverged}};
  write_file_atomically(directory / kResultFile, json_text(json, 2) + "\n");
  return summarize_run(seed, diverged, read_curve(directory));
}

}  // namespace

MeanAndStd CaseResult::of(double CaseRun::*member) const {
  MeanAndStd result;
  const auto count = static_cast<double>(runs.size());
  for (const CaseRun& run : runs) result.mean += run.*member / count;
  if (runs.size() < 2) return result;
  double squares = 0;
  for (const CaseRun& run : runs) squares += (run.*member - result.mean) * (run.*member - result.mean);
  result.std = std::sqrt(squares / (count - 1));
  return result;
}

ComparisonResult run_comparison(const std::vector<ComparisonCase>& cases, const ComparisonSetup& setup) {
  ComparisonResult result;
  for (const ComparisonCase& definition : cases) result.cases.push_back({definition, {}});
  for (int64_t seed = 1; seed <= setup.seeds; ++seed) {
    for (CaseResult& entry : result.cases) {
      const ComparisonCase& definition = entry.definition;
      const fs::path directory =
          setup.out / "runs" / case_directory(definition.name) / fmt::format("seed-{}", seed);
      const Recipe recipe = setup.recipe(definition, seed);
      const std::string wanted = identity(recipe, setup.data_name);
      std::optional<CaseRun> run = finished_run(directory, wanted, seed);
      const bool kept = run.has_value();
      if (!run) run = train_case(recipe, setup, directory, wanted, seed);
      if (!run) {
        result.interrupted = true;
        return result;
      }
      if (setup.progress) {
        setup.progress(fmt::format("{}, seed {}: training error {:.2f} %, test error {:.2f} %{}{}",
                                   definition.name, seed, run->train_error, run->test_error,
                                   run->diverged ? ", diverged" : "", kept ? " (finished before)" : ""));
      }
      entry.runs.push_back(*std::move(run));
    }
  }
  return result;
}

std::string case_directory(const std::string& name) {
  std::string text;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.';
    if (plain) {
      text += c;
    } else if (!text.empty() && text.back() != '-') {
      text += '-';
    }
  }
  while (!text.empty() && text.back() == '-') text.pop_back();
  return text;
}

}  // namespace residuum
