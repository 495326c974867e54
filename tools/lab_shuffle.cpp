// residuum lab shuffle: a trained net with equal blocks exchanged at random.
#include <fmt/format.h>

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

std::string to_text(const LabSession& session, const ShuffleReport& report) {
  std::string text =
      fmt::format("{}, {} images: error {}\n", session.subject().model, count_text(report.whole.samples),
                  percent_text(1 - report.whole.top1_accuracy()));
  for (const ShuffleReport::Point& point : report.points) {
    text += fmt::format("{:>3} swaps  tau {:6.3f}  error {:>9}\n", point.swaps, point.kendall_tau,
                        percent_text(1 - point.shuffled.top1_accuracy()));
  }
  return text;
}

int run_shuffle(ShuffleArguments& arguments) {
  const LabSession session(arguments.lab, WeightsNeed::kNeeded);
  arguments.options.seed = arguments.lab.seed;
  arguments.options.progress = lab_progress;
  const ShuffleReport report = shuffle_blocks(session.subject(), arguments.options);
  finish_analysis(arguments.lab, "shuffle", to_json(session.head("shuffle"), report),
                  to_text(session, report));
  return kExitOk;
}

}  // namespace

Verb lab_shuffle_verb(CLI::App& lab) {
  CLI::App* command =
      lab.add_subcommand("shuffle", "Error with equal blocks exchanged, against Kendall's tau");
  const auto arguments = std::make_shared<ShuffleArguments>();
  arguments->options.swaps = {1, 2, 4, 8, 16};
  add_lab_options(*command, arguments->lab);
  command->add_option("--swaps", arguments->options.swaps, "Numbers of exchanges")
      ->delimiter(',')
      ->type_name("N,...")
      ->capture_default_str();
  command->add_option("--draws", arguments->options.draws, "Random choices for each number")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  residuum lab shuffle --run runs/a --out lab/a\n"
      "  residuum lab shuffle --run runs/a --swaps 1,3,10 --draws 5 --json");
  return {command, [arguments] { return run_shuffle(*arguments); }};
}

}  // namespace residuum
