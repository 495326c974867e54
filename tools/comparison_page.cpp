#include "tools/comparison_page.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/train/units.h"
#include "tools/environment.h"
#include "tools/page/page.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;

int64_t diverged_runs(const CaseResult& result) {
  return std::count_if(result.runs.begin(), result.runs.end(),
                       [](const CaseRun& run) { return run.diverged; });
}

std::string with_deviation(const CaseResult& result, double CaseRun::*member, int digits = 2) {
  const MeanAndStd value = result.of(member);
  const std::string mean = fixed_text(value.mean, digits);
  return result.runs.size() < 2 ? mean : mean + " ± " + fixed_text(value.std, digits);
}

std::string published_text(const ComparisonCase& definition) {
  if (definition.published) return fixed_text(*definition.published, 2);
  return definition.published_failure ? "fails" : "-";
}

Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json number(const std::optional<double>& value) {
  return value ? number(*value) : Json(nullptr);
}

Json to_json(const MeanAndStd& value) {
  return {{"mean", number(value.mean)}, {"std", number(value.std)}};
}

Json to_json(const CaseRun& run) {
  Json json = {{"seed", run.seed},
               {"diverged", run.diverged},
               {"train_loss", number(run.train_loss)},
               {"train_error", number(run.train_error)},
               {"test_error", number(run.test_error)},
               {"best_test_error", number(run.best_test_error)},
               {"curve", Json::array()}};
  for (const CurvePoint& point : run.curve) {
    json["curve"].push_back({{"step", point.step},
                             {"train_loss", number(point.train_loss)},
                             {"train_error", number(point.train_error)},
                             {"test_error", number(point.test_error)}});
  }
  return json;
}

Table result_table(const ComparisonReport& report) {
  Table table{report.title,
              {"net", "training loss", "training error %", "test error %", "best test error %", "printed %"},
              {},
              "Training: means over the last tenth of the steps. Test: after the last step; the best one is "
              "chosen on the test images. Printed: " +
                  report.source + "; fails: above 20 %."};
  for (const CaseResult& result : report.cases) {
    Cell test(with_deviation(result, &CaseRun::test_error));
    if (const int64_t count = diverged_runs(result); count > 0) {
      test = Cell(test.text, fmt::format("{} of {} runs diverged", count, result.runs.size()), Mark::kBad);
    }
    table.rows.push_back({result.definition.name, with_deviation(result, &CaseRun::train_loss, 4),
                          with_deviation(result, &CaseRun::train_error), test,
                          with_deviation(result, &CaseRun::best_test_error),
                          published_text(result.definition)});
  }
  return table;
}

Table curve_table(const ComparisonReport& report) {
  Table table{"Curves", {"net", "seed", "step", "train_loss", "train_error", "test_error"}, {}, {}};
  const auto text = [](const std::optional<double>& value) {
    return value ? exact_text(*value) : std::string();
  };
  for (const CaseResult& result : report.cases) {
    for (const CaseRun& run : result.runs) {
      for (const CurvePoint& point : run.curve) {
        table.rows.push_back({result.definition.name, std::to_string(run.seed), std::to_string(point.step),
                              text(point.train_loss), text(point.train_error), text(point.test_error)});
      }
    }
  }
  return table;
}

/// The mean over the runs at each step where all have a value, in a band from the lowest to the highest.
Line mean_line(const CaseResult& result, std::optional<double> CurvePoint::*member) {
  std::map<int64_t, std::vector<double>> at;
  for (const CaseRun& run : result.runs) {
    for (const CurvePoint& point : run.curve) {
      if (point.*member) at[point.step].push_back(*(point.*member));
    }
  }
  Line line{result.definition.name, {}, {}};
  for (const auto& [step, values] : at) {
    if (values.size() != result.runs.size()) continue;
    double sum = 0;
    for (const double value : values) sum += value;
    line.x.push_back(static_cast<double>(step));
    line.y.push_back(sum / static_cast<double>(values.size()));
    if (values.size() < 2) continue;
    line.low.push_back(*std::min_element(values.begin(), values.end()));
    line.high.push_back(*std::max_element(values.begin(), values.end()));
  }
  return line;
}

Figure curve_figure(const ComparisonReport& report, const std::string& title, const std::string& axis,
                    std::optional<double> CurvePoint::*member) {
  LineChart chart{{"step"}, {axis}, {}};
  for (const CaseResult& result : report.cases) {
    Line line = mean_line(result, member);
    line.dashed = result.definition.name.starts_with("plain");
    if (!line.x.empty()) chart.lines.push_back(std::move(line));
  }
  const bool several = report.cases.front().runs.size() > 1;
  return {title, chart, several ? "Mean over the seeds, in a band from the lowest to the highest." : ""};
}

Figure error_bars(const ComparisonReport& report) {
  BarChart chart{"net", {}, {"test error %"}, {}, true};
  Bars measured{"measured", {}}, printed{"printed", {}};
  for (const CaseResult& result : report.cases) {
    chart.categories.push_back(result.definition.name);
    const MeanAndStd error = result.of(&CaseRun::test_error);
    measured.values.push_back(error.mean);
    if (result.runs.size() > 1) {
      measured.low.push_back(error.mean - error.std);
      measured.high.push_back(error.mean + error.std);
    }
    printed.values.push_back(result.definition.published.value_or(std::nan("")));
  }
  chart.bars = {measured, printed};
  return {"Test error beside the printed one", chart,
          (report.cases.front().runs.size() > 1 ? "Whiskers: one standard deviation over the seeds. " : "") +
              ("Printed: " + report.source + ".")};
}

Page page_of(const ComparisonReport& report) {
  std::vector<std::pair<std::string, std::string>> facts = {
      {"images", report.data},
      {"steps", count_text(report.steps)},
      {"batch", std::to_string(report.batch)},
      {"seeds", std::to_string(report.cases.front().runs.size())},
      {"device", report.device}};
  std::ranges::copy(program_facts(), std::back_inserter(facts));
  Page page(report.title, "residuum lab " + report.analysis);
  page.facts(std::move(facts));
  page.table(result_table(report));
  page.figure(curve_figure(report, "Training error", "training error %", &CurvePoint::train_error));
  page.figure(curve_figure(report, "Test error", "test error %", &CurvePoint::test_error));
  page.figure(curve_figure(report, "Training loss", "training loss", &CurvePoint::train_loss));
  page.figure(error_bars(report));
  page.listing("Recipe of the first net", report.recipe);
  page.listing("Command line", report.command + "\n");
  return page;
}

}  // namespace

std::string to_text(const ComparisonReport& report) {
  size_t width = 4;
  for (const CaseResult& result : report.cases) width = std::max(width, result.definition.name.size());
  std::string text =
      fmt::format("{}: {}, {} steps of {} images\n", report.title, report.data, report.steps, report.batch);
  text += fmt::format("{:<{}}  {:>16}  {:>16}  {:>8}\n", "net", width, "training error %", "test error %",
                      "printed");
  for (const CaseResult& result : report.cases) {
    const int64_t count = diverged_runs(result);
    text += fmt::format("{:<{}}  {:>16}  {:>16}  {:>8}{}\n", result.definition.name, width,
                        with_deviation(result, &CaseRun::train_error),
                        with_deviation(result, &CaseRun::test_error), published_text(result.definition),
                        count > 0 ? fmt::format("  {} diverged", count) : "");
  }
  return text + "printed: " + report.source + "\n";
}

Json to_json(const ComparisonReport& report) {
  Json json = {{"analysis", report.analysis}, {"data", report.data},
               {"device", report.device},     {"steps", report.steps},
               {"batch", report.batch},       {"random_labels", report.random_labels},
               {"source", report.source},     {"cases", Json::array()}};
  for (const CaseResult& result : report.cases) {
    Json runs = Json::array();
    for (const CaseRun& run : result.runs) runs.push_back(to_json(run));
    json["cases"].push_back({{"name", result.definition.name},
                             {"overrides", result.definition.overrides},
                             {"train_loss", to_json(result.of(&CaseRun::train_loss))},
                             {"train_error", to_json(result.of(&CaseRun::train_error))},
                             {"test_error", to_json(result.of(&CaseRun::test_error))},
                             {"best_test_error", to_json(result.of(&CaseRun::best_test_error))},
                             {"published", number(result.definition.published)},
                             {"published_failure", result.definition.published_failure},
                             {"diverged", diverged_runs(result)},
                             {"runs", runs}});
  }
  return json;
}

void write_report(const ComparisonReport& report, const std::filesystem::path& out, bool png) {
  make_directories(out);
  write_file_atomically(out / (report.analysis + ".json"), json_text(to_json(report), 2) + "\n");
  write_file_atomically(out / (report.analysis + ".csv"), to_csv(result_table(report)));
  write_file_atomically(out / "curves.csv", to_csv(curve_table(report)));
  const Page page = page_of(report);
  page.write_csv(out / (report.analysis + "-csv"));
  if (!can_write_pages()) return;
  page.write(out / (report.analysis + ".html"));
  if (png) page.write_png(out / (report.analysis + "-png"));
}

}  // namespace residuum
