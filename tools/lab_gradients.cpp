// residuum lab gradients: norms of weights, gradients and activations, layer by layer, at initialisation or
// over training. Nonlinearity, batch norm and initial scale are the recipe's: model.activation, batch_norm,
// init_scale.
#include <fmt/core.h>

#include <memory>

#include "engine/lab/layer_stats.h"
#include "tools/exit_codes.h"
#include "tools/lab.h"

namespace residuum {
namespace {

struct GradientsArguments {
  LabArguments lab;
  GradientOptions options;
};

nlohmann::ordered_json to_json(const NetStats& look) {
  nlohmann::ordered_json json = {
      {"step", look.step}, {"loss", look.loss}, {"first_over_last", look.first_over_last}};
  json["layers"] = nlohmann::ordered_json::array();
  for (const LayerStats& layer : look.layers) {
    json["layers"].push_back({{"name", layer.name},
                              {"weight", layer.weight},
                              {"weight_gradient", layer.weight_gradient},
                              {"output", layer.output},
                              {"output_gradient", layer.output_gradient},
                              {"output_mean", layer.output_mean},
                              {"output_std", layer.output_std}});
  }
  json["blocks"] = nlohmann::ordered_json::array();
  for (const BlockStats& block : look.blocks) {
    json["blocks"].push_back({{"name", block.name},
                              {"branch_over_skip", block.branch_over_skip},
                              {"stream_std", block.stream_std},
                              {"gradient", block.gradient}});
  }
  return json;
}

Table layer_table(const NetStats& look) {
  Table table{
      fmt::format("Layers at step {}", look.step),
      {"layer", "|weight|", "|weight gradient|", "|output|", "|output gradient|", "std of output"},
      {},
      "|.|: Euclidean norm of the whole tensor, all images of a batch together; std: over its elements."};
  for (const LayerStats& layer : look.layers) {
    const auto text = [](double value) { return Cell(fmt::format("{:.3e}", value)); };
    table.rows.push_back({layer.name, text(layer.weight), text(layer.weight_gradient), text(layer.output),
                          text(layer.output_gradient), text(layer.output_std)});
  }
  return table;
}

Table block_table(const NetStats& look) {
  Table table{fmt::format("Blocks at step {}", look.step),
              {"block", "|F| / |x|", "std of stream", "|stream gradient|"},
              {},
              "F: the branch, x: the shortcut, where they meet; the stream is the block's output."};
  for (const BlockStats& block : look.blocks) {
    table.rows.push_back({block.name, fixed_text(block.branch_over_skip, 4), fixed_text(block.stream_std, 4),
                          fmt::format("{:.3e}", block.gradient)});
  }
  return table;
}

/// How one number of each layer or block is shown.
struct Quantity {
  std::string title, axis;
  bool logarithmic = false;
  std::string caption;
};

/// One line for the first look and one for the last, over the layers or blocks.
template <typename Item, typename Read>
Figure lines(const Quantity& quantity, const std::vector<NetStats>& looks, std::vector<Item> NetStats::*items,
             const Read& read) {
  const char* of = std::is_same_v<Item, LayerStats> ? "layer, from the input" : "block, from the input";
  LineChart chart{{of}, {quantity.axis, quantity.logarithmic}, {}};
  for (const NetStats* look : {&looks.front(), &looks.back()}) {
    Line line{fmt::format("step {}", look->step), {}, {}};
    for (const Item& item : look->*items) add_numbered(line, item.name, read(item));
    chart.lines.push_back(std::move(line));
    if (looks.size() == 1) break;
  }
  return {quantity.title, chart, quantity.caption};
}

Figure over_training(const std::vector<NetStats>& looks) {
  HeatMap map{"layer", "step", {}, {}, {}, "norm of the weight gradient", true};
  for (const NetStats& look : looks) map.columns.push_back(std::to_string(look.step));
  for (size_t i = 0; i < looks.front().layers.size(); ++i) {
    map.rows.push_back(looks.front().layers[i].name);
    for (const NetStats& look : looks) map.values.push_back(look.layers[i].weight_gradient);
  }
  return {"Weight gradients over training", map};
}

std::string first_over_last_text(const std::vector<NetStats>& looks) {
  std::string text = "Weight gradient of the first layer over that of the last hidden one:";
  for (const NetStats* look : {&looks.front(), &looks.back()}) {
    text += fmt::format("{} {:.3e} at step {}", look == &looks.front() ? "" : ",", look->first_over_last,
                        look->step);
    if (looks.size() == 1) break;
  }
  return text +
         ". With batch norm a plain net's gradient grows towards the input (1.17 to 1.21 a layer with He's "
         "initialisation); sigmoids without batch norm shrink it by at least 4 a layer.";
}

Page page_of(const LabSession& session, const std::vector<NetStats>& looks) {
  Page page = session.page("Gradients and activations, layer by layer");
  page.text(first_over_last_text(looks));
  page.figure(
      lines({"Weight gradients", "norm of the weight gradient", true, "Euclidean norm of each layer."}, looks,
            &NetStats::layers, [](const LayerStats& layer) { return layer.weight_gradient; }));
  page.figure(lines({"Output gradients", "norm of the output gradient", true,
                     "Gradient of the mean loss at each layer's output."},
                    looks, &NetStats::layers, [](const LayerStats& layer) { return layer.output_gradient; }));
  page.figure(lines({"Weights", "norm of the weights", true, "Euclidean norm of each layer."}, looks,
                    &NetStats::layers, [](const LayerStats& layer) { return layer.weight; }));
  page.figure(lines({"Outputs", "std of the output", true, "Over all elements of a layer's output."}, looks,
                    &NetStats::layers, [](const LayerStats& layer) { return layer.output_std; }));
  if (!looks.front().blocks.empty()) {
    page.figure(lines({"Residual stream", "std of the block's output", false,
                       "Without scaling it grows with depth; where the shape changes it starts anew."},
                      looks, &NetStats::blocks, [](const BlockStats& block) { return block.stream_std; }));
    page.figure(lines({"Branch over shortcut", "|F(x)| / |x|", false, "Norms at the join of each block."},
                      looks, &NetStats::blocks,
                      [](const BlockStats& block) { return block.branch_over_skip; }));
  }
  if (looks.size() > 1) page.figure(over_training(looks));
  page.table(layer_table(looks.back()));
  if (!looks.back().blocks.empty()) page.table(block_table(looks.back()));
  page.listing("Recipe", session.recipe_text());
  return page;
}

int run_gradients(GradientsArguments& arguments) {
  const LabSession session(arguments.lab, WeightsNeed::kOptional,
                           arguments.options.steps > 0 ? DataNeed::kTraining : DataNeed::kImages);
  arguments.options.seed = arguments.lab.seed;
  arguments.options.progress = lab_progress;
  const std::vector<NetStats> looks = layer_statistics(session.subject(), arguments.options);
  nlohmann::ordered_json json = session.head("gradients");
  json["looks"] = nlohmann::ordered_json::array();
  for (const NetStats& look : looks) json["looks"].push_back(to_json(look));
  std::string text = to_text(layer_table(looks.back()));
  if (!looks.back().blocks.empty()) text += to_text(block_table(looks.back()));
  text += fmt::format("weight gradient of the first layer over that of the last hidden one: {:.3e}\n",
                      looks.back().first_over_last);
  finish_analysis(arguments.lab, {"gradients", std::move(json), std::move(text), page_of(session, looks)});
  return kExitOk;
}

}  // namespace

Verb lab_gradients_verb(const Command& lab) {
  const Command command =
      lab.add_command("gradients", "Norms of weights, gradients and activations of each layer");
  const auto arguments = std::make_shared<GradientsArguments>();
  add_lab_options(command, arguments->lab);
  add_batch_options(command, arguments->options.batch, arguments->options.batches);
  command.add_option("--steps", arguments->options.steps, "Train this many steps and look on the way")
      .not_negative()
      .show_default();
  command.add_option("--every", arguments->options.every, "Steps between looks").positive().show_default();
  command.footer(
      "Batch norms use the batch's statistics. Training uses the images of --split.\n\n"
      "Examples:\n"
      "  residuum lab gradients --model cifar_plain56 --data cifar10 --out lab/plain\n"
      "  residuum lab gradients --model cifar_plain20 --data cifar10 --set model.activation=sigmoid "
      "--set model.batch_norm=false\n"
      "  residuum lab gradients --model cifar_resnet20 --data cifar10 --split train --steps 100 --out lab/a");
  return {command, [arguments] { return run_gradients(*arguments); }};
}

}  // namespace residuum
