// residuum lab lesion: what a trained net is without each of its parts, and without several at once.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <memory>

#include "engine/core/check.h"
#include "engine/lab/lesion.h"
#include "engine/train/units.h"
#include "tools/evaluation_json.h"
#include "tools/exit_codes.h"
#include "tools/lab.h"

namespace residuum {
namespace {

const std::map<std::string, LesionKind> kKinds = {
    {"blocks", LesionKind::kBlocks}, {"layers", LesionKind::kLayers}, {"gates", LesionKind::kGates}};

struct LesionArguments {
  LabArguments lab;
  std::string kind = "auto";
  LesionOptions options;
};

nlohmann::ordered_json to_json(nlohmann::ordered_json json, const LesionReport& report) {
  json["kind"] = to_string(report.kind);
  json["whole"] = to_json(report.whole);
  json["singles"] = nlohmann::ordered_json::array();
  for (const LesionReport::Single& single : report.singles) {
    json["singles"].push_back({{"name", single.name},
                               {"down_sampling", single.down_sampling},
                               {"without", to_json(single.without)}});
  }
  json["several"] = nlohmann::ordered_json::array();
  for (const LesionReport::Several& several : report.several) {
    nlohmann::ordered_json draws = nlohmann::ordered_json::array();
    for (const Evaluation& draw : several.draws) draws.push_back(to_json(draw));
    json["several"].push_back({{"count", several.count}, {"draws", std::move(draws)}});
  }
  return json;
}

/// Mean, lowest and highest error of the draws, in percent.
std::array<double, 3> spread_of(const std::vector<Evaluation>& draws) {
  double low = 100, high = 0, sum = 0;
  for (const Evaluation& draw : draws) {
    low = std::min(low, error_percent(draw));
    high = std::max(high, error_percent(draw));
    sum += error_percent(draw);
  }
  return {sum / static_cast<double>(draws.size()), low, high};
}

std::string percent(double value) {
  return percent_text(value / 100);
}

Table single_table(const LesionReport& report) {
  Table table{"Without one part", {"without", "error", "more than whole"}, {}};
  table.rows.push_back({"nothing", percent(error_percent(report.whole)), ""});
  for (const LesionReport::Single& single : report.singles) {
    table.rows.push_back({Cell(single.name, single.down_sampling ? "down-sampling" : ""),
                          percent(error_percent(single.without)),
                          percent(error_percent(single.without) - error_percent(report.whole))});
  }
  return table;
}

Table several_table(const LesionReport& report) {
  Table table{"Without several parts", {"deleted", "mean error", "lowest", "highest"}, {}};
  for (const LesionReport::Several& several : report.several) {
    const auto [mean, low, high] = spread_of(several.draws);
    table.rows.push_back({std::to_string(several.count), percent(mean), percent(low), percent(high)});
  }
  return table;
}

/// Bars of two colours where some parts sample down: a stack of one each.
Figure single_figure(const LesionReport& report) {
  constexpr double kGap = std::numeric_limits<double>::quiet_NaN();
  BarChart chart{"without", {}, {"error (%)", false, 0.0, {}, {}}, {}, false, true};
  chart.value.marks.push_back({error_percent(report.whole), "whole net"});
  Bars equal{"keeps its shape", {}}, down{"samples down", {}};
  for (const LesionReport::Single& single : report.singles) {
    chart.categories.push_back(single.name);
    equal.values.push_back(single.down_sampling ? kGap : error_percent(single.without));
    down.values.push_back(single.down_sampling ? error_percent(single.without) : kGap);
  }
  const bool any_down = std::ranges::any_of(report.singles, &LesionReport::Single::down_sampling);
  if (!any_down) equal.name = chart.value.name;
  chart.bars = {std::move(equal)};
  if (any_down) chart.bars.push_back(std::move(down));
  return {"Error without each part", chart,
          "Veit 2016: in a residual net only down-sampling blocks matter much; a plain net without a layer "
          "guesses."};
}

Figure several_figure(const LesionReport& report) {
  Line line{"mean of the draws", {}, {}};
  for (const LesionReport::Several& several : report.several) {
    const auto [mean, low, high] = spread_of(several.draws);
    line.x.push_back(several.count);
    line.y.push_back(mean);
    line.low.push_back(low);
    line.high.push_back(high);
  }
  LineChart chart{{"parts deleted"}, {"error (%)"}, {line}};
  chart.y.marks.push_back({error_percent(report.whole), "whole net"});
  return {"Error without several parts", chart,
          "Mean, lowest and highest draw. Veit 2016: the error rises smoothly; ResNet-110 without 10 of 54 "
          "blocks about 20 %."};
}

int run_lesion(LesionArguments& arguments) {
  const LabSession session(arguments.lab, WeightsNeed::kNeeded);
  const Subject& subject = session.subject();
  arguments.options.seed = arguments.lab.seed;
  arguments.options.progress = lab_progress;
  const Graph graph = forward_graph(subject, Mode::kEval, sample_batches(subject, 1, 1, 0));
  const LesionKind kind = arguments.kind == "auto" ? natural_lesion(graph) : kKinds.at(arguments.kind);
  const LesionReport report = lesion(subject, kind, arguments.options);
  Page page = session.page("Lesions: " + to_string(kind) + " taken away");
  page.figure(single_figure(report));
  page.table(single_table(report));
  std::string text = to_text(single_table(report));
  if (!report.several.empty()) {
    page.figure(several_figure(report));
    page.table(several_table(report));
    text += to_text(several_table(report));
  }
  page.listing("Recipe", session.recipe_text());
  finish_analysis(arguments.lab, {"lesion", to_json(session.head("lesion"), report), text, std::move(page)});
  return kExitOk;
}

}  // namespace

Verb lab_lesion_verb(const Command& lab) {
  const Command command =
      lab.add_command("lesion", "Error without each block, layer or gate, and without several");
  const auto arguments = std::make_shared<LesionArguments>();
  add_lab_options(command, arguments->lab);
  command.add_option("--kind", arguments->kind, "What is taken away: auto, blocks, layers or gates")
      .one_of({"auto", "blocks", "layers", "gates"})
      .show_default();
  command.add_option("--delete", arguments->options.counts, "Also delete this many at random, e.g. 1,2,5,10")
      .delimiter(',')
      .type_name("N,...");
  command.add_option("--draws", arguments->options.draws, "Random choices for each number")
      .positive()
      .show_default();
  command.footer(
      "A block is deleted by making its output its input; of a down-sampling block the branch goes and the "
      "shortcut\n"
      "stays. auto takes gates of highway nets, blocks of residual nets, layers of plain nets.\n\n"
      "Examples:\n"
      "  residuum lab lesion --run runs/a --out lab/a --delete 1,2,3,5,8\n"
      "  residuum lab lesion --model cifar_resnet110 --weights w.safetensors --data cifar10 --json");
  return {command, [arguments] { return run_lesion(*arguments); }};
}

}  // namespace residuum
