// residuum lab shuffle: a trained net with equal blocks exchanged at random.
#include <fmt/core.h>

#include <memory>

#include "engine/lab/lesion.h"
#include "engine/train/units.h"
#include "tools/evaluation_json.h"
#include "tools/exit_codes.h"
#include "tools/lab.h"

namespace residuum {
namespace {

struct ShuffleArguments {
  LabArguments lab;
  ShuffleOptions options;
};

nlohmann::ordered_json to_json(nlohmann::ordered_json json, const ShuffleReport& report) {
  json["whole"] = to_json(report.whole);
  json["points"] = nlohmann::ordered_json::array();
  for (const ShuffleReport::Point& point : report.points) {
    json["points"].push_back({{"swaps", point.swaps},
                              {"kendall_tau", point.kendall_tau},
                              {"order", point.order},
                              {"shuffled", to_json(point.shuffled)}});
  }
  return json;
}

Table table_of(const ShuffleReport& report) {
  Table table{"Blocks exchanged", {"swaps", "Kendall tau", "error"}, {}};
  table.rows.push_back({"0", "1.000", percent_text(1 - report.whole.top1_accuracy())});
  for (const ShuffleReport::Point& point : report.points) {
    table.rows.push_back({std::to_string(point.swaps), fixed_text(point.kendall_tau, 3),
                          percent_text(1 - point.shuffled.top1_accuracy())});
  }
  return table;
}

Figure figure_of(const ShuffleReport& report) {
  Points points{"one random order", {1}, {error_percent(report.whole)}, {"as trained"}};
  for (const ShuffleReport::Point& point : report.points) {
    points.x.push_back(point.kendall_tau);
    points.y.push_back(error_percent(point.shuffled));
    points.labels.push_back(fmt::format("{} swap{}", point.swaps, point.swaps == 1 ? "" : "s"));
  }
  return {"Error against order", ScatterChart{{"Kendall's tau"}, {"error (%)"}, {points}},
          "1 is the order of training. Veit 2016: the error of ResNet-110 grows smoothly as tau falls."};
}

int run_shuffle(ShuffleArguments& arguments) {
  const LabSession session(arguments.lab, WeightsNeed::kNeeded);
  arguments.options.seed = arguments.lab.seed;
  arguments.options.progress = lab_progress;
  const ShuffleReport report = shuffle_blocks(session.subject(), arguments.options);
  Page page = session.page("Blocks in another order");
  page.figure(figure_of(report));
  page.table(table_of(report));
  page.listing("Recipe", session.recipe_text());
  finish_analysis(arguments.lab, {"shuffle", to_json(session.head("shuffle"), report),
                                  to_text(table_of(report)), std::move(page)});
  return kExitOk;
}

}  // namespace

Verb lab_shuffle_verb(const Command& lab) {
  const Command command =
      lab.add_command("shuffle", "Error with equal blocks exchanged, against Kendall's tau");
  const auto arguments = std::make_shared<ShuffleArguments>();
  arguments->options.swaps = {1, 2, 4, 8, 16};
  add_lab_options(command, arguments->lab);
  command.add_option("--swaps", arguments->options.swaps, "Numbers of exchanges")
      .delimiter(',')
      .type_name("N,...")
      .show_default();
  command.add_option("--draws", arguments->options.draws, "Random choices for each number")
      .positive()
      .show_default();
  command.footer(
      "Examples:\n"
      "  residuum lab shuffle --run runs/a --out lab/a\n"
      "  residuum lab shuffle --run runs/a --swaps 1,3,10 --draws 5 --json");
  return {command, [arguments] { return run_shuffle(*arguments); }};
}

}  // namespace residuum
