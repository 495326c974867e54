#include "tools/run_page.h"

#include <fmt/core.h>

#include <algorithm>

#include "engine/core/json.h"
#include "engine/train/recipe_keys.h"
#include "engine/train/units.h"
#include "models/published.h"

namespace residuum {
namespace {

using Runs = std::vector<RunRecord>;

/// A metric of metrics.jsonl as a curve.
struct Curve {
  std::string metric, name;
  std::string of = {};  ///< "training", "test": curves of several runs that share a figure
};

struct CurveFigure {
  std::string title;
  Axis y;
  std::vector<Curve> curves;
  bool percent = false;  ///< shares of 1 are shown in percent
};

const std::vector<CurveFigure>& curve_figures() {
  static const std::vector<CurveFigure> kFigures = {
      {"Loss",
       {"loss", true},
       {{"train/loss", "training", "training"},
        {"test/loss", "test", "test"},
        {"test_ema/loss", "test, averaged weights", "test"}}},
      {"Top-1 accuracy",
       {"top-1 accuracy (%)"},
       {{"train/top1", "training", "training"},
        {"test/top1", "test", "test"},
        {"test_ema/top1", "test, averaged weights", "test"}},
       true},
      {"Learning rate", {"learning rate"}, {{"train/lr", "learning rate"}}},
      {"Gradient norm", {"norm of all gradients", true}, {{"train/gradient_norm", "norm of all gradients"}}},
      {"Throughput", {"images/s", false, 0.0}, {{"train/images_per_second", "images/s"}}},
      {"Waiting for data",
       {"share of the time (%)", false, 0.0},
       {{"train/data_share", "share of the time (%)"}},
       true}};
  return kFigures;
}

/// The curve of one run, if it has any.
void add_line(std::vector<Line>& lines, const RunRecord& run, const CurveFigure& figure, const Curve& curve,
              const std::string& name) {
  Series series = run.series(curve.metric);
  if (series.values.empty()) return;
  if (figure.percent) {
    for (double& value : series.values) value *= 100;
  }
  lines.push_back({name, std::move(series.steps), std::move(series.values)});
}

void add_lines(Page& page, const CurveFigure& figure, const std::string& of, std::vector<Line> lines) {
  if (lines.empty()) return;
  page.figure({of.empty() ? figure.title : figure.title + ", " + of,
               LineChart{{"step"}, figure.y, std::move(lines)}});
}

/// All curves of one run in one figure.
void add_figure(Page& page, const RunRecord& run, const CurveFigure& figure) {
  std::vector<Line> lines;
  for (const Curve& curve : figure.curves) add_line(lines, run, figure, curve, curve.name);
  add_lines(page, figure, "", std::move(lines));
}

/// A figure with all runs for each kind of curve.
void add_comparison(Page& page, const Runs& runs, const CurveFigure& figure) {
  for (size_t begin = 0, end = 0; begin < figure.curves.size(); begin = end) {
    const std::string& of = figure.curves[begin].of;
    while (end < figure.curves.size() && figure.curves[end].of == of) ++end;
    std::vector<Line> lines;
    for (const RunRecord& run : runs) {
      for (size_t i = begin; i < end; ++i) {
        const bool averaged = figure.curves[i].metric.starts_with("test_ema/");
        add_line(lines, run, figure, figure.curves[i], run.name + (averaged ? ", averaged weights" : ""));
      }
    }
    add_lines(page, figure, of, std::move(lines));
  }
}

void add_all_curves(Page& page, const Runs& runs) {
  page.section("Curves");
  page.text(
      "Figures of training are means over the steps since the line before in `metrics.jsonl`; those of the "
      "test set are exact counts over all of its images.");
  for (const CurveFigure& figure : curve_figures()) {
    if (runs.size() == 1)
      add_figure(page, runs.front(), figure);
    else
      add_comparison(page, runs, figure);
  }
}

/// The metric by which runs are judged: of averaged weights where the run has them.
std::string judged(const RunRecord& run) {
  return run.best("test_ema/top1") ? "test_ema" : "test";
}

std::string percent(const std::optional<double>& share) {
  return share ? fixed_text(*share * 100, 2) : "-";
}

/// What is printed of a run's model, when the run trained it as published.
std::optional<PublishedError> published_of(const RunRecord& run) {
  Recipe published;
  published.model.name = run.recipe.model.name;
  published.model.classes = run.recipe.model.classes;
  for (const RecipeKey& key : recipe_keys()) {
    const bool of_model = std::string_view(key.path).starts_with("model.");
    if (of_model && value_text(key.field, run.recipe) != value_text(key.field, published))
      return std::nullopt;
  }
  return published_error(run.recipe.model.name);
}

Cell published_cell(const RunRecord& run) {
  const auto published = published_of(run);
  if (!published) return Cell("-");
  return Cell(fixed_text(100 - published->percent, 2),
              fmt::format("{}: {}", published->source, published->data));
}

Table results_table(const Runs& runs) {
  Table table{"Runs",
              {"run", "model", "steps", "last top-1 (%)", "best top-1 (%)", "published (%)", "last test loss",
               "last training loss", "images/s"},
              {}};
  table.caption =
      "The best accuracy is chosen on the test set: report the last beside it. Published: of the model as "
      "its "
      "paper trains it, on the data named there. Images per second: of all training steps.";
  for (const RunRecord& run : runs) {
    const std::string prefix = judged(run);
    const std::optional<BestValue> best = run.best(prefix + "/top1");
    const auto number = [&](const std::string& metric, int digits) {
      const auto value = run.last(metric);
      return Cell(value ? fixed_text(*value, digits) : "-");
    };
    const auto pace = run.images_per_second();
    const std::string note = prefix == "test_ema" ? "averaged weights" : "";
    table.rows.push_back(
        {run.name, run.recipe.model.name, run.metrics.empty() ? "0" : json_text(run.metrics.back()["step"]),
         Cell(percent(run.last(prefix + "/top1")), note),
         Cell(best ? fixed_text(best->value * 100, 2) : "-", best ? fmt::format("step {}", best->step) : ""),
         published_cell(run), number(prefix + "/loss", 4), number("train/loss", 4),
         Cell(pace ? fixed_text(*pace, 0) : "-")});
  }
  return table;
}

/// Keys whose values are not the same in all runs.
Table differences_table(const Runs& runs) {
  Table table{"Where the recipes differ", {"key"}, {}};
  for (const RunRecord& run : runs) table.columns.push_back(run.name);
  for (const RecipeKey& key : recipe_keys()) {
    std::vector<Cell> row = {std::string(key.path)};
    for (const RunRecord& run : runs) row.emplace_back(value_text(key.field, run.recipe));
    const bool same =
        std::all_of(row.begin() + 2, row.end(), [&](const Cell& cell) { return cell.text == row[1].text; });
    if (!same) table.rows.push_back(std::move(row));
  }
  return table;
}

void add_recipes(Page& page, const Runs& runs) {
  page.section("Recipe");
  if (runs.size() > 1) {
    const Table differences = differences_table(runs);
    if (differences.rows.empty()) page.text("All runs have the same recipe.");
    if (!differences.rows.empty()) page.table(differences);
  }
  for (const RunRecord& run : runs)
    page.listing(runs.size() == 1 ? "recipe.toml" : run.name + "/recipe.toml", to_toml(run.recipe));
}

/// A value of environment.json in one line.
std::string fact_text(const nlohmann::ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_structured()) return json_text(value);
  std::string text;
  for (const auto& item : value.items()) {
    text += text.empty() ? "" : value.is_object() ? ", " : " ";
    text += (value.is_object() ? item.key() + " " : "") + fact_text(item.value());
  }
  return text;
}

void add_environments(Page& page, const Runs& runs) {
  page.section("Environment");
  for (const RunRecord& run : runs) {
    std::vector<std::pair<std::string, std::string>> facts;
    if (runs.size() > 1) facts.emplace_back("run", run.name);
    for (const auto& item : run.environment.items()) {
      if (item.key() == "resumed_step" && item.value() == -1) continue;  // it began at step 0
      std::string name = item.key();
      std::replace(name.begin(), name.end(), '_', ' ');
      facts.emplace_back(std::move(name), fact_text(item.value()));
    }
    page.facts(std::move(facts));
  }
}

std::string title_of(const Runs& runs) {
  if (runs.size() > 1) return fmt::format("{} training runs", runs.size());
  return fmt::format("Training of {}", runs.front().recipe.model.name);
}

std::string subtitle_of(const Runs& runs) {
  if (runs.size() > 1) return "";
  const Recipe& recipe = runs.front().recipe;
  const std::string length = recipe.train.epochs > 0
                                 ? fmt::format("{} epochs", recipe.train.epochs)
                                 : fmt::format("{} steps", count_text(recipe.train.steps));
  return fmt::format("{}: {}, batch {}, {}", runs.front().name, length, recipe.train.batch,
                     kPrecisionNames.at(static_cast<size_t>(recipe.train.precision)));
}

}  // namespace

Page run_page(const Runs& runs) {
  Page page(title_of(runs), subtitle_of(runs));
  page.section("Results");
  page.table(results_table(runs));
  add_all_curves(page, runs);
  add_recipes(page, runs);
  add_environments(page, runs);
  return page;
}

nlohmann::ordered_json run_results(const Runs& runs) {
  auto results = nlohmann::ordered_json::array();
  for (const RunRecord& run : runs) {
    const std::string prefix = judged(run);
    const auto last = [&](const std::string& metric) {
      const auto value = run.last(metric);
      return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
    };
    const auto best = run.best(prefix + "/top1");
    const auto pace = run.images_per_second();
    nlohmann::ordered_json result = {
        {"run", run.directory.string()},
        {"model", run.recipe.model.name},
        {"steps", run.metrics.empty() ? 0 : run.metrics.back()["step"].get<int64_t>()},
        {"averaged_weights", prefix == "test_ema"},
        {"last_top1", last(prefix + "/top1")},
        {"best_top1", nullptr},
        {"best_step", nullptr},
        {"last_test_loss", last(prefix + "/loss")},
        {"last_training_loss", last("train/loss")},
        {"images_per_second", pace ? nlohmann::ordered_json(*pace) : nlohmann::ordered_json(nullptr)}};
    if (best) {
      result["best_top1"] = best->value;
      result["best_step"] = static_cast<int64_t>(best->step);
    }
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace residuum
