// residuum lab singularities and pairing: the weights of a net, unit by unit.
#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "engine/lab/tied_units.h"
#include "engine/lab/weight_units.h"
#include "tools/exit_codes.h"
#include "tools/lab.h"

namespace residuum {
namespace {

struct UnitsArguments {
  LabArguments lab;
  int64_t tie_steps = 0;
  std::string block;
};

Graph graph_of(const LabSession& session) {
  const Subject& subject = session.subject();
  return forward_graph(subject, Mode::kEval, sample_batches(subject, 1, 1, 0));
}

Table unit_table(const std::vector<UnitStats>& layers) {
  Table table{"Units",
              {"layer", "units", "inputs", "smallest norm", "mean norm", "overlap", "random overlap",
               "effective rank", "random rank"},
              {},
              "Norms of the incoming weights; overlap: the largest cosine of two units. Random: what normal "
              "random weights of the same shape give."};
  for (const UnitStats& layer : layers) {
    table.rows.push_back({layer.layer, std::to_string(layer.units), std::to_string(layer.inputs),
                          fixed_text(layer.smallest_norm, 4), fixed_text(layer.mean_norm, 4),
                          fixed_text(layer.largest_overlap, 3), fixed_text(layer.random_overlap, 3),
                          fixed_text(layer.effective_rank, 1), fixed_text(layer.random_rank, 1)});
  }
  return table;
}

/// A number of each layer, and what random weights of its shape give.
template <typename Item, typename Found, typename Random>
Figure beside_random(const std::string& title, const std::string& axis, const std::vector<Item>& layers,
                     const Found& found, const Random& random, const std::string& caption) {
  Line line{"this net", {}, {}}, chance{"random weights", {}, {}, {}, {}, true};
  for (const Item& layer : layers) {
    add_numbered(line, layer.layer, std::invoke(found, layer));
    add_numbered(chance, layer.layer, std::invoke(random, layer));
  }
  return {title, LineChart{{"layer, from the input"}, {axis}, {line, chance}}, caption};
}

void add_unit_figures(const std::vector<UnitStats>& layers, Page& page) {
  page.figure(beside_random(
      "Overlap of units", "largest cosine", layers, &UnitStats::largest_overlap, &UnitStats::random_overlap,
      "Between the incoming weights of two units of a layer: 1 is an overlap singularity."));
  const auto largest = [](const UnitStats& layer) {
    return static_cast<double>(std::min(layer.units, layer.inputs));
  };
  page.figure(beside_random(
      "Effective rank", "share of the largest rank", layers,
      [&](const UnitStats& layer) { return layer.effective_rank / largest(layer); },
      [&](const UnitStats& layer) { return layer.random_rank / largest(layer); },
      "exp of the entropy of the squared singular values' shares, over the number of units or inputs, the "
      "smaller: "
      "small where units depend on each other."));
}

nlohmann::ordered_json to_json(const std::vector<UnitStats>& layers) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const UnitStats& layer : layers) {
    json.push_back({{"name", layer.layer},
                    {"units", layer.units},
                    {"inputs", layer.inputs},
                    {"smallest_norm", layer.smallest_norm},
                    {"mean_norm", layer.mean_norm},
                    {"largest_norm", layer.largest_norm},
                    {"largest_overlap", layer.largest_overlap},
                    {"effective_rank", layer.effective_rank},
                    {"random_overlap", layer.random_overlap},
                    {"random_rank", layer.random_rank}});
  }
  return json;
}

/// Adds the tied-unit experiment to a result.
void add_tied_units(const TiedUnits& tied, Analysis& analysis) {
  nlohmann::ordered_json moments = nlohmann::ordered_json::array();
  Table table{"Tied units", {"step", "equal", "largest difference", "cosine"}, {}};
  Line line{fmt::format("units 0 and 1 of {}", tied.layer), {}, {}};
  for (const TiedUnits::Moment& moment : tied.moments) {
    moments.push_back({{"step", moment.step},
                       {"equal", moment.equal},
                       {"distance", moment.distance},
                       {"cosine", moment.cosine}});
    table.rows.push_back({std::to_string(moment.step), moment.equal ? "yes" : "no",
                          fmt::format("{:.3e}", moment.distance), fixed_text(moment.cosine, 6)});
    line.x.push_back(static_cast<double>(moment.step));
    line.y.push_back(moment.distance);
  }
  analysis.json["tied"] = {
      {"layer", tied.layer}, {"shortcut", tied.shortcut}, {"moments", std::move(moments)}};
  analysis.text += fmt::format("units 0 and 1 of {} tied, {} shortcut around it\n", tied.layer,
                               tied.shortcut ? "with a" : "no") +
                   to_text(table);
  analysis.page.figure(
      {"Tied units in training", LineChart{{"step"}, {"largest difference of weights"}, {line}},
       "Two units that start alike: a plain layer never parts them, a shortcut does in one step "
       "(Orhan and Pitkow 2018)."});
  analysis.page.table(std::move(table));
}

int run_singularities(const UnitsArguments& arguments) {
  const LabSession session(arguments.lab, WeightsNeed::kOptional,
                           arguments.tie_steps > 0 ? DataNeed::kTraining : DataNeed::kWeightsAlone);
  const std::vector<UnitStats> layers =
      unit_statistics(graph_of(session), session.subject().state, arguments.lab.seed);
  Analysis analysis{"singularities", session.head("singularities"), to_text(unit_table(layers)),
                    session.page("Singularities of the weights")};
  analysis.json["layers"] = to_json(layers);
  add_unit_figures(layers, analysis.page);
  analysis.page.table(unit_table(layers));
  if (arguments.tie_steps > 0) {
    add_tied_units(tied_units(session.subject(), arguments.block, arguments.tie_steps), analysis);
  }
  analysis.page.listing("Recipe", session.recipe_text());
  finish_analysis(arguments.lab, std::move(analysis));
  return kExitOk;
}

int run_pairing(const UnitsArguments& arguments) {
  const LabSession session(arguments.lab, WeightsNeed::kOptional, DataNeed::kWeightsAlone);
  const Subject& subject = session.subject();
  const std::vector<PairingStats> layers =
      pairing_statistics(graph_of(session), subject.state, subject.model, arguments.lab.seed);
  Analysis analysis{"pairing", session.head("pairing"), "", session.page("Pairs of opposite filters")};
  Table table{"Pairing", {"layer", "filters", "mean cosine", "random filters"}, {}};
  analysis.json["layers"] = nlohmann::ordered_json::array();
  for (const PairingStats& layer : layers) {
    table.rows.push_back({layer.layer, std::to_string(layer.units), fixed_text(layer.mean, 4),
                          fixed_text(layer.random_mean, 4)});
    analysis.json["layers"].push_back({{"name", layer.layer},
                                       {"units", layer.units},
                                       {"cosines", layer.cosines},
                                       {"mean", layer.mean},
                                       {"random_mean", layer.random_mean}});
  }
  analysis.page.figure(beside_random("Pairing of each layer", "mean cosine with the most opposite filter",
                                     layers, &PairingStats::mean, &PairingStats::random_mean,
                                     "Shang 2016: in trained nets the filters of the first layers come in "
                                     "pairs, near -1; random ones do not."));
  Histogram histogram{{"cosine with the most opposite filter"}, {"filters"}, {}};
  histogram.distributions.push_back(
      distribution_of(layers.front().layer, layers.front().cosines, 20, -1.0, 0.0));
  histogram.distributions.push_back(
      distribution_of(layers.back().layer, layers.back().cosines, 20, -1.0, 0.0));
  analysis.page.figure(
      {"First and last convolution", histogram, "Each filter's cosine with the most opposite one."});
  analysis.page.table(table);
  analysis.page.listing("Recipe", session.recipe_text());
  analysis.text = to_text(table);
  finish_analysis(arguments.lab, std::move(analysis));
  return kExitOk;
}

}  // namespace

Verb lab_singularities_verb(const Command& lab) {
  const Command command =
      lab.add_command("singularities", "Norms, overlaps and rank of weights; the tied-unit experiment");
  const auto arguments = std::make_shared<UnitsArguments>();
  add_lab_options(command, arguments->lab);
  command.add_option("--tie-steps", arguments->tie_steps, "Tie two units, then train this many steps")
      .not_negative()
      .show_default();
  command.add_option("--block", arguments->block, "Whose last layer is tied; default: the middle one");
  command.footer(
      "Examples:\n"
      "  residuum lab singularities --run runs/a --out lab/a\n"
      "  residuum lab singularities --model resnet50 --weights resnet50.safetensors\n"
      "  residuum lab singularities --model cifar_plain20 --data cifar10 --tie-steps 10");
  return {command, [arguments] { return run_singularities(*arguments); }};
}

Verb lab_pairing_verb(const Command& lab) {
  const Command command =
      lab.add_command("pairing", "How opposite the filters of each layer are (Shang 2016)");
  const auto arguments = std::make_shared<UnitsArguments>();
  add_lab_options(command, arguments->lab);
  command.footer(
      "Looks at the weights alone: no data set is opened.\n\n"
      "Examples:\n"
      "  residuum lab pairing --run runs/a --out lab/a\n"
      "  residuum lab pairing --model resnet50 --weights resnet50.safetensors");
  return {command, [arguments] { return run_pairing(*arguments); }};
}

}  // namespace residuum
