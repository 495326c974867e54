// residuum lab response, iteration and lambda: what layers answer, how the blocks of a stage refine an
// estimate, and how much the shortcuts alone carry.
#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "engine/lab/responses.h"
#include "engine/lab/shortcut_scale.h"
#include "tools/exit_codes.h"
#include "tools/lab.h"

namespace residuum {
namespace {

struct SampleArguments {
  LabArguments lab;
  SampleOptions options;
};

/// Without weights running statistics mean nothing: then the batch's are used.
SampleOptions options_of(const SampleArguments& arguments, const LabSession& session) {
  SampleOptions options = arguments.options;
  options.mode = session.has_weights() ? Mode::kEval : Mode::kTrain;
  options.seed = arguments.lab.seed;
  return options;
}

int run_response(const SampleArguments& arguments) {
  const LabSession session(arguments.lab, WeightsNeed::kOptional);
  const std::vector<Response> responses = layer_responses(session.subject(), options_of(arguments, session));
  nlohmann::ordered_json json = session.head("response");
  json["layers"] = nlohmann::ordered_json::array();
  Table table{"Responses", {"layer", "mean", "std"}, {}};
  Line in_order{"in order", {}, {}}, sorted{"sorted", {}, {}, {}, {}, true};
  for (const Response& response : responses) {
    json["layers"].push_back({{"name", response.layer}, {"mean", response.mean}, {"std", response.std}});
    table.rows.push_back({response.layer, fixed_text(response.mean, 4), fixed_text(response.std, 4)});
    add_numbered(in_order, response.layer, response.std);
  }
  std::vector<Response> falling = responses;
  std::ranges::sort(falling, std::greater(), &Response::std);
  for (const Response& response : falling) add_numbered(sorted, response.layer, response.std);
  Page page = session.page("Responses of the layers");
  page.figure({"Standard deviation of layer responses",
               LineChart{{"layer, from the input"}, {"std of the response"}, {in_order, sorted}},
               "After batch norm, before nonlinearity and addition (He 2015, figure 7: smaller in residual "
               "nets than in plain ones, and the smaller the deeper: 20 above 56 above 110)."});
  page.table(table);
  page.listing("Recipe", session.recipe_text());
  finish_analysis(arguments.lab, {"response", std::move(json), to_text(table), std::move(page)});
  return kExitOk;
}

int run_iteration(const SampleArguments& arguments) {
  const LabSession session(arguments.lab, WeightsNeed::kOptional);
  const std::vector<Estimate> estimates = stage_estimates(session.subject(), options_of(arguments, session));
  nlohmann::ordered_json json = session.head("iteration");
  json["blocks"] = nlohmann::ordered_json::array();
  Table table{
      "Estimation errors", {"block", "stage", "mean error", "std of error", "std of the stage's output"}, {}};
  LineChart chart{{"block, from the input"}, {"estimation error"}, {}};
  double number = 0;
  for (const Estimate& estimate : estimates) {
    json["blocks"].push_back({{"name", estimate.block},
                              {"stage", estimate.stage},
                              {"error_mean", estimate.error_mean},
                              {"error_std", estimate.error_std},
                              {"stage_std", estimate.stage_std}});
    table.rows.push_back({estimate.block, std::to_string(estimate.stage), fixed_text(estimate.error_mean, 4),
                          fixed_text(estimate.error_std, 4), fixed_text(estimate.stage_std, 4)});
    if (static_cast<int>(chart.lines.size()) < estimate.stage) {
      chart.lines.push_back({fmt::format("stage {}", estimate.stage), {}, {}});
    }
    Line& line = chart.lines.back();
    line.x.push_back(++number);
    line.y.push_back(estimate.error_mean);
    line.labels.push_back(estimate.block);
    line.low.push_back(estimate.error_mean - estimate.error_std);
    line.high.push_back(estimate.error_mean + estimate.error_std);
  }
  Page page = session.page("Blocks as estimates of their stage's output");
  page.figure(
      {"Estimation error", chart,
       "Output of each block minus that of the stage's last: mean, and one standard deviation to both sides. "
       "Greff 2017: in a trained net the mean stays near 0, and the deviation shrinks along a stage."});
  page.table(table);
  page.listing("Recipe", session.recipe_text());
  finish_analysis(arguments.lab, {"iteration", std::move(json), to_text(table), std::move(page)});
  return kExitOk;
}

nlohmann::ordered_json optional_json(const std::optional<double>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

int run_lambda(const SampleArguments& arguments) {
  const LabSession session(arguments.lab, WeightsNeed::kOptional);
  const ShortcutScales scales = shortcut_scales(session.subject(), options_of(arguments, session));
  nlohmann::ordered_json json = session.head("lambda");
  json["product"] = optional_json(scales.product);
  json["forward"] = scales.forward;
  json["backward"] = scales.backward;
  json["blocks"] = nlohmann::ordered_json::array();
  const auto text = [](const std::optional<double>& value) {
    return value ? fmt::format("{:.6g}", *value) : std::string("not constant");
  };
  Table table{"Scales of the shortcuts",
              {"block", "lambda", "forward", "backward"},
              {},
              "lambda is predicted: the constant factor of the shortcut. Forward and backward are measured."};
  Line forward{"forward", {}, {}}, backward{"backward", {}, {}, {}, {}, true};
  for (const ShortcutScale& scale : scales.blocks) {
    json["blocks"].push_back({{"name", scale.block},
                              {"lambda", optional_json(scale.lambda)},
                              {"forward", scale.forward},
                              {"backward", scale.backward}});
    table.rows.push_back({scale.block, text(scale.lambda), text(scale.forward), text(scale.backward)});
    add_numbered(forward, scale.block, scale.forward);
    add_numbered(backward, scale.block, scale.backward);
  }
  table.rows.push_back({"all", text(scales.product), text(scales.forward), text(scales.backward)});
  Page page = session.page("What the shortcuts alone carry");
  page.figure(
      {"Scale of each block's shortcut",
       LineChart{{"block, from the input"}, {"norm, output over input"}, {forward, backward}},
       "Branches are taken off forward, and given no gradient backward. He 2016: with h(x) = lambda x both "
       "are products of lambda along the identity path; a ReLU after the addition stops part of the "
       "gradient."});
  page.table(table);
  page.listing("Recipe", session.recipe_text());
  finish_analysis(arguments.lab, {"lambda", std::move(json), to_text(table), std::move(page)});
  return kExitOk;
}

Verb sample_verb(const Command& lab, const char* name, const char* help, const char* footer,
                 int (*run)(const SampleArguments&)) {
  const Command command = lab.add_command(name, help);
  const auto arguments = std::make_shared<SampleArguments>();
  add_lab_options(command, arguments->lab);
  add_batch_options(command, arguments->options.batch, arguments->options.batches);
  command.footer(
      std::string("Without --run or --weights the net is as it is initialised, with batch statistics.\n\n") +
      footer);
  return {command, [arguments, run] { return run(*arguments); }};
}

}  // namespace

Verb lab_response_verb(const Command& lab) {
  return sample_verb(lab, "response", "Standard deviation of each layer's response (He 2015, figure 7)",
                     "Examples:\n"
                     "  residuum lab response --run runs/a --batches 4 --out lab/a\n"
                     "  residuum lab response --model cifar_plain20 --data cifar10 --json",
                     run_response);
}

Verb lab_iteration_verb(const Command& lab) {
  return sample_verb(lab, "iteration", "How the blocks of a stage refine an estimate (Greff 2017)",
                     "Examples:\n"
                     "  residuum lab iteration --run runs/a --batches 4 --out lab/a",
                     run_iteration);
}

Verb lab_lambda_verb(const Command& lab) {
  return sample_verb(lab, "lambda", "Product of the shortcuts' scales, predicted and measured (He 2016)",
                     "Examples:\n"
                     "  residuum lab lambda --model cifar_preresnet20 --data cifar10 --out lab/a\n"
                     "  residuum lab lambda --run runs/a --json",
                     run_lambda);
}

}  // namespace residuum
