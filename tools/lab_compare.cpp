// residuum lab degradation, table1, table2: nets trained side by side, with means and deviations over seeds
// beside what the papers print.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <map>
#include <memory>

#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/lab/random_labels.h"
#include "engine/train/units.h"
#include "models/recipe_model.h"
#include "tools/comparison_page.h"
#include "tools/comparisons.h"
#include "tools/data_source.h"
#include "tools/environment.h"
#include "tools/exit_codes.h"
#include "tools/lab.h"
#include "tools/output.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

/// What a verb of this file is.
struct ComparisonKind {
  const char *name, *help, *title, *source;
  bool several_depths;
  std::vector<ComparisonCase> (*cases)(const std::vector<int64_t>& depths);
};

const ComparisonKind kDegradation = {
    "degradation", "Plain and residual nets of several depths, trained alike",
    "Degradation", "He 2015, table 6, CIFAR-10",
    true,          degradation_cases};
const ComparisonKind kShortcuts = {
    "table1",
    "The shortcuts of He 2016, table 1, trained alike",
    "Kinds of shortcuts",
    "He 2016, table 1, ResNet-110, CIFAR-10",
    false,
    [](const std::vector<int64_t>& depths) { return shortcut_cases(depths.front()); }};
const ComparisonKind kPlacements = {
    "table2",
    "The placements of BN and ReLU of He 2016, table 2, trained alike",
    "Placement of activations",
    "He 2016, table 2, CIFAR-10",
    false,
    [](const std::vector<int64_t>& depths) { return placement_cases(depths.front()); }};

struct CompareArguments {
  RecipeArguments keys;
  DeviceOptions device;
  std::string budget = "small", out;
  std::vector<int64_t> depths;
  int64_t steps = 0, batch = 0, seeds = 0;
  int64_t train_images = -1, test_images = -1;  ///< -1: the budget's; 0: all
  bool random_labels = false, json = false, png = false;
};

/// The budget with the command line's changes.
ComparisonBudget chosen_budget(const ComparisonKind& kind, const CompareArguments& arguments) {
  ComparisonBudget budget;
  for (const ComparisonBudget& known : comparison_budgets()) {
    if (known.name == arguments.budget) budget = known;
  }
  const auto change = [](int64_t& value, int64_t given, int64_t unset) {
    if (given != unset) value = given;
  };
  change(budget.steps, arguments.steps, 0);
  change(budget.batch, arguments.batch, 0);
  change(budget.seeds, arguments.seeds, 0);
  change(budget.train_images, arguments.train_images, -1);
  change(budget.test_images, arguments.test_images, -1);
  if (!kind.several_depths) budget.degradation_depths = {budget.table_depth};
  if (!arguments.depths.empty()) budget.degradation_depths = arguments.depths;
  check(kind.several_depths || budget.degradation_depths.size() == 1, ErrorKind::kUsage,
        "lab {}: --depth has {} values, allowed is one", kind.name, budget.degradation_depths.size());
  return budget;
}

Recipe case_recipe(const CompareArguments& arguments, const ComparisonBudget& budget,
                   const ComparisonCase& definition, int64_t seed) {
  std::vector<std::string> overrides = definition.overrides;
  for (std::string& given : arguments.keys.overrides()) overrides.push_back(std::move(given));
  overrides.push_back(fmt::format("train.seed={}", seed));
  return parse_recipe(comparison_recipe(budget.steps, budget.batch), "lab", overrides);
}

std::shared_ptr<const Dataset> limited(std::unique_ptr<Dataset> data, int64_t limit) {
  if (limit == 0 || limit >= data->size()) return data;
  return subset(std::shared_ptr<const Dataset>(std::move(data)), 0, limit);
}

int run_comparison_verb(const ComparisonKind& kind, const CompareArguments& arguments) {
  if (arguments.png) check_can_draw();
  const ComparisonBudget budget = chosen_budget(kind, arguments);
  const std::vector<ComparisonCase> cases = kind.cases(budget.degradation_depths);
  Recipe first = case_recipe(arguments, budget, cases.front(), 1);
  for (const ComparisonCase& c : cases) {  // refuses an impossible net before anything is trained
    const Recipe recipe = case_recipe(arguments, budget, c, 1);
    model_builder(recipe)({Mode::kTrain, 1, {32, 32, 3}, 10});
  }
  std::shared_ptr<const Dataset> train_data = limited(open_split(first, Split::kTrain), budget.train_images);
  const std::shared_ptr<const Dataset> test_data =
      limited(open_split(first, Split::kTest), budget.test_images);
  if (arguments.random_labels) train_data = random_labels(train_data, 1);
  const auto backend = open_device(arguments.device, first.train);
  const std::string data_name = fmt::format("{} training and {} test images of {}{}", train_data->size(),
                                            test_data->size(), fs::path(first.data.path).filename().string(),
                                            arguments.random_labels ? ", random training labels" : "");
  const ComparisonSetup setup{
      [&](const ComparisonCase& c, int64_t seed) { return case_recipe(arguments, budget, c, seed); },
      model_builder,
      *train_data,
      *test_data,
      data_name,
      *backend,
      arguments.out,
      budget.seeds,
      lab_progress};
  const ComparisonResult result = run_comparison(cases, setup);
  if (result.interrupted) {
    lab_progress("interrupted, state saved: the same command goes on");
    return kExitInterrupted;
  }
  const ComparisonReport report{
      kind.name,           kind.title,
      kind.source,         data_name,
      backend->describe(), budget.steps,
      budget.batch,        arguments.random_labels,
      to_toml(first),      fmt::format("{}", fmt::join(process_command_line(), " ")),
      result.cases};
  write_report(report, arguments.out, arguments.png);
  if (!can_write_pages()) lab_progress("this build has no chart library: no page was written");
  if (arguments.json) {
    print_json(to_json(report));
  } else {
    print_result(to_text(report));
  }
  return kExitOk;
}

Verb comparison_verb(const Command& lab, const ComparisonKind& kind) {
  const Command command = lab.add_command(kind.name, kind.help);
  const auto arguments = std::make_shared<CompareArguments>();
  arguments->keys.add_to(command, {kDataFlag, kPrecisionFlag, kThreadsFlag});
  std::vector<std::string> budgets;
  for (const ComparisonBudget& budget : comparison_budgets()) budgets.push_back(budget.name);
  command
      .add_option("--budget", arguments->budget,
                  "small: minutes on a few cores; medium; full: as in the paper. The options below change "
                  "parts of it")
      .one_of(budgets)
      .show_default();
  command
      .add_option(kind.several_depths ? "--depths" : "--depth", arguments->depths,
                  kind.several_depths ? "Of the nets" : "Of the net; the paper's figures are of 110")
      .delimiter(',')
      .type_name(kind.several_depths ? "N,..." : "N");
  const auto add_count = [&](const char* flag, int64_t& value, const char* help) {
    command.add_option(flag, value, help).positive();
  };
  add_count("--steps", arguments->steps, "Of each training");
  add_count("--batch", arguments->batch, "Images in a batch");
  add_count("--seeds", arguments->seeds, "Trainings of each net");
  command.add_option("--train-images", arguments->train_images, "Use the first N only; 0: all");
  command.add_option("--test-images", arguments->test_images, "Use the first N only; 0: all");
  command.add_flag("--random-labels", arguments->random_labels,
                   "Training labels drawn at random: what a net can memorise");
  add_device_options(command, arguments->device);
  Option out = command.add_option("--out", arguments->out, "Runs and results; the same command there goes on")
                   .required()
                   .type_name("DIR");
  add_png_option(command, out, arguments->png);
  command.add_flag("--json", arguments->json, "For programs");
  command.footer(
      fmt::format("A finished training is never repeated, one cut off goes on. DIR gets {0}.json, {0}.csv, "
                  "curves.csv and\n"
                  "{0}.html, and in runs/ a directory for each training.\n\n"
                  "Examples:\n"
                  "  residuum lab {0} --data cifar10 --out lab/{0}\n"
                  "  residuum lab {0} --data cifar10 --budget full --precision bf16 --out lab/{0}-full",
                  kind.name));
  return {command, [arguments, &kind] { return run_comparison_verb(kind, *arguments); }};
}

}  // namespace

Verb lab_degradation_verb(const Command& lab) {
  return comparison_verb(lab, kDegradation);
}
Verb lab_shortcuts_verb(const Command& lab) {
  return comparison_verb(lab, kShortcuts);
}
Verb lab_placements_verb(const Command& lab) {
  return comparison_verb(lab, kPlacements);
}

}  // namespace residuum
