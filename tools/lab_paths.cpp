// residuum lab paths: how many paths a net has, how long they are, and how much gradient each length carries.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "engine/core/check.h"
#include "engine/lab/path_gradients.h"
#include "models/recipe_model.h"
#include "tools/environment.h"
#include "tools/exit_codes.h"
#include "tools/lab.h"

namespace residuum {
namespace {

struct PathsArguments {
  LabArguments lab;
  PathOptions options;
  bool count_only = false;
};

nlohmann::ordered_json texts(const std::vector<BigCount>& counts) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const BigCount& count : counts) list.push_back(count.to_string());
  return list;
}

/// Counts as decimal texts: numbers of JSON are not exact above 2^53.
nlohmann::ordered_json to_json(const PathCount& count) {
  return {{"modules", count.modules},
          {"paths", count.paths.to_string()},
          {"paths_by_modules", texts(count.by_modules)},
          {"mean_modules", count.mean_modules},
          {"span", {count.low, count.high}},
          {"share_in_span", count.share_in_span},
          {"ways", count.ways.to_string()},
          {"ways_by_layers", texts(count.by_layers)}};
}

using Facts = std::vector<std::pair<std::string, std::string>>;

Facts count_facts(const PathCount& count) {
  Facts facts;
  if (count.modules > 0) {
    facts = {
        {"modules", std::to_string(count.modules)},
        {"paths", count.paths.to_string()},
        {"length in modules", fmt::format("mean {:g}, {:.2f} % of the paths in {} to {}", count.mean_modules,
                                          100 * count.share_in_span, count.low, count.high)}};
  }
  const auto shortest = std::find_if(count.by_layers.begin(), count.by_layers.end(),
                                     [](const BigCount& ways) { return !ways.is_zero(); });
  facts.emplace_back("ways from images to logits",
                     fmt::format("{}, with {} to {} weight layers", count.ways.to_string(),
                                 shortest - count.by_layers.begin(), count.by_layers.size() - 1));
  return facts;
}

std::string to_text(const Facts& facts) {
  std::string text;
  for (const auto& [name, value] : facts) text += fmt::format("{}: {}\n", name, value);
  return text;
}

nlohmann::ordered_json to_json(nlohmann::ordered_json json, const PathReport& report) {
  json["count"] = to_json(report.count);
  json["whole_norm"] = report.whole_norm;
  json["lengths"] = nlohmann::ordered_json::array();
  for (const PathReport::Length& length : report.lengths) {
    json["lengths"].push_back({{"modules", length.modules},
                               {"mean_norm", length.mean_norm},
                               {"std_norm", length.std_norm},
                               {"lowest_norm", length.lowest},
                               {"highest_norm", length.highest},
                               {"share", length.share}});
  }
  json["factor_per_module"] = report.factor_per_module;
  json["effective"] = {report.effective_low, report.effective_high};
  json["share_of_paths"] = report.share_of_paths;
  return json;
}

Table table_of(const PathReport& report) {
  Table table{"Paths by length", {"modules", "paths", "gradient of a path", "share of all gradient"}, {}};
  for (const PathReport::Length& length : report.lengths) {
    table.rows.push_back({std::to_string(length.modules),
                          report.count.by_modules[static_cast<size_t>(length.modules)].to_string(),
                          fmt::format("{:.4e}", length.mean_norm),
                          fmt::format("{:.4f} %", 100 * length.share)});
  }
  return table;
}

Facts gradient_facts(const PathReport& report) {
  return {{"gradient of a path", fmt::format("times {:.3f} for each module more", report.factor_per_module)},
          {"95 % of the gradient",
           fmt::format("from {} to {} modules, {:.4f} % of the paths", report.effective_low,
                       report.effective_high, 100 * report.share_of_paths)}};
}

/// Veit 2016, figure 6, of a trained ResNet-110, beside what was found.
Table published_table(const PathReport& report) {
  return {"Beside the published net",
          {"quantity", "this net", "ResNet-110, trained (Veit 2016)"},
          {{"modules", std::to_string(report.count.modules), "54"},
           {"effective paths", fmt::format("{} to {} modules", report.effective_low, report.effective_high),
            "5 to 17 modules"},
           {"their share of the paths", fmt::format("{:.2f} %", 100 * report.share_of_paths), "0.45 %"}}};
}

/// The length distribution: shares of all paths.
Figure count_figure(const PathCount& count) {
  Line line{"share of the paths", {}, {}};
  for (size_t k = 0; k < count.by_modules.size(); ++k) {
    line.x.push_back(static_cast<double>(k));
    line.y.push_back(std::exp(count.by_modules[k].log() - count.paths.log()));
  }
  return {"Paths by length", LineChart{{"modules on the path"}, {"share of the paths"}, {line}},
          "Exact: a binomial distribution over the residual modules."};
}

Page report_page(const LabSession& session, const PathReport& report) {
  Page page = session.page("Paths and the gradient they carry");
  page.facts(count_facts(report.count));
  page.facts(gradient_facts(report));
  page.figure(count_figure(report.count));
  Line norm{"mean of random paths", {}, {}}, share{"share of the gradient", {}, {}};
  for (const PathReport::Length& length : report.lengths) {
    norm.x.push_back(length.modules);
    norm.y.push_back(length.mean_norm);
    norm.low.push_back(length.lowest);
    norm.high.push_back(length.highest);
    share.x.push_back(length.modules);
    share.y.push_back(length.share);
  }
  page.figure(
      {"Gradient of a path", LineChart{{"modules on the path"}, {"gradient at the images", true}, {norm}},
       "Norm of the loss's gradient at the normalised images, in a band from the lowest to the highest of "
       "the paths drawn. Veit 2016: it falls exponentially with the length."});
  page.figure({"Share of all gradient",
               LineChart{{"modules on the path"}, {"share of the gradient"}, {share}},
               "Number of paths times gradient of a path. Veit 2016, trained ResNet-110: most comes from 5 "
               "to 17 of 54 modules, 0.45 % of the paths."});
  page.table(published_table(report));
  page.table(table_of(report));
  page.listing("Recipe", session.recipe_text());
  return page;
}

/// Needs neither data nor weights: the graph of the model at the size it was published for.
int run_count(const PathsArguments& arguments) {
  if (arguments.lab.png) check_can_draw();
  const Recipe recipe = find_model_source(arguments.lab.source, WeightsNeed::kOptional).recipe;
  const PathCount count = count_paths(model_builder(recipe)(published_request(recipe, Mode::kEval, 1)));
  nlohmann::ordered_json json = {
      {"analysis", "paths"}, {"model", recipe.model.name}, {"count", to_json(count)}};
  Page page("Paths", recipe.model.name);
  page.facts(count_facts(count));
  page.facts(program_facts());
  page.figure(count_figure(count));
  page.listing("Recipe", to_toml(recipe));
  finish_analysis(arguments.lab, {"paths", std::move(json),
                                  recipe.model.name + "\n" + to_text(count_facts(count)), std::move(page)});
  return kExitOk;
}

int run_paths(PathsArguments& arguments) {
  if (arguments.count_only) return run_count(arguments);
  const LabSession session(arguments.lab, WeightsNeed::kOptional);
  arguments.options.seed = arguments.lab.seed;
  arguments.options.progress = lab_progress;
  const PathReport report = sample_paths(session.subject(), arguments.options);
  finish_analysis(arguments.lab, {"paths", to_json(session.head("paths"), report),
                                  session.subject().model + "\n" + to_text(count_facts(report.count)) +
                                      to_text(table_of(report)) + to_text(gradient_facts(report)),
                                  report_page(session, report)});
  return kExitOk;
}

}  // namespace

Verb lab_paths_verb(const Command& lab) {
  const Command command =
      lab.add_command("paths", "Number and length of paths, and the gradient each length carries");
  const auto arguments = std::make_shared<PathsArguments>();
  add_lab_options(command, arguments->lab);
  command.add_flag("--count-only", arguments->count_only,
                   "Exact numbers from the graph; no data, no weights");
  command.add_option("--samples", arguments->options.samples, "Random paths of each length, for each batch")
      .positive()
      .show_default();
  add_batch_options(command, arguments->options.batch, arguments->options.batches);
  command
      .add_option("--lengths", arguments->options.lengths,
                  "Only paths through this many modules; default: all")
      .delimiter(',')
      .type_name("K,...");
  command.footer(
      "Without --run or --weights the net is as it is initialised. Batch norms use the batch's "
      "statistics.\n\n"
      "Examples:\n"
      "  residuum lab paths --model cifar_resnet110 --count-only --json\n"
      "  residuum lab paths --run runs/a --samples 20 --out lab/a\n"
      "  residuum lab paths --model cifar_resnet20 --data cifar10 --lengths 0,3,6,9");
  return {command, [arguments] { return run_paths(*arguments); }};
}

}  // namespace residuum
