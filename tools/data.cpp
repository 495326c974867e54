// residuum data verify: reads every sample of a data set once and lists the damaged ones.
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <memory>
#include <optional>

#include "engine/core/check.h"
#include "engine/data/verify.h"
#include "engine/train/units.h"
#include "tools/exit_codes.h"
#include "tools/output.h"
#include "tools/verbs.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;

struct VerifyArguments {
  std::string path, split = "both";
  int threads = 2;
  bool json = false;
};

/// What was found in one split.
struct SplitReport {
  Split split = Split::kTrain;
  VerifyReport report;
};

/// The splits to be read. A folder of class folders serves as both and is read once.
std::vector<Split> splits_of(const VerifyArguments& arguments) {
  if (arguments.split == "train") return {Split::kTrain};
  if (arguments.split == "test") return {Split::kTest};
  const auto train = open_dataset(arguments.path, Split::kTrain);
  const auto test = open_dataset(arguments.path, Split::kTest);
  const bool same = train->size() == test->size() && train->describe(0) == test->describe(0);
  if (same) return {Split::kTrain};
  return {Split::kTrain, Split::kTest};
}

Json to_json(const VerifyArguments& arguments, const std::vector<SplitReport>& reports) {
  Json json = {{"path", arguments.path}, {"bad", 0}, {"splits", Json::array()}};
  size_t bad = 0;
  for (const auto& [split, report] : reports) {
    Json entry = {{"split", to_string(split)}, {"samples", report.samples}, {"classes", Json::array()}};
    for (size_t c = 0; c < report.classes.size(); ++c) {
      entry["classes"].push_back({{"name", report.classes[c]}, {"samples", report.class_counts[c]}});
    }
    entry["bad"] = Json::array();
    for (const VerifyReport::BadFile& file : report.bad) {
      entry["bad"].push_back({{"index", file.index}, {"name", file.name}, {"reason", file.reason}});
    }
    bad += report.bad.size();
    json["splits"].push_back(std::move(entry));
  }
  json["bad"] = bad;
  return json;
}

std::string to_text(const std::vector<SplitReport>& reports) {
  std::string text;
  for (const auto& [split, report] : reports) {
    text += fmt::format("{}: {} samples, {} classes, {} bad\n", to_string(split), count_text(report.samples),
                        report.classes.size(), report.bad.size());
    for (size_t c = 0; c < report.classes.size(); ++c) {
      text += fmt::format("{:>10}  {}\n", count_text(report.class_counts[c]), report.classes[c]);
    }
    for (const VerifyReport::BadFile& file : report.bad) {
      text += fmt::format("bad: {} (sample {}): {}\n", file.name, file.index, file.reason);
    }
  }
  return text;
}

int verify(const VerifyArguments& arguments) {
  std::vector<SplitReport> reports;
  bool bad = false;
  for (const Split split : splits_of(arguments)) {
    reports.push_back({split, verify_dataset(arguments.path, split, {}, arguments.threads)});
    bad = bad || !reports.back().report.bad.empty();
  }
  if (arguments.json) {
    print_json(to_json(arguments, reports));
  } else {
    print_result(to_text(reports));
  }
  return bad ? kExitData : kExitOk;
}

}  // namespace

Verb data_verb(const Command& program) {
  const Command command = program.add_command("data", "Data sets: verify");
  command.require_command();
  const Command verify_command = command.add_command("verify", "Read every sample, list the damaged ones");
  const auto arguments = std::make_shared<VerifyArguments>();
  verify_command.add_option("path", arguments->path, "IDX, CIFAR or image folder")
      .required()
      .type_name("PATH");
  verify_command.add_option("--split", arguments->split, "train, test or both")
      .one_of({"train", "test", "both"})
      .show_default();
  verify_command.add_option("--threads", arguments->threads, "That decode").range(1, 1024).show_default();
  verify_command.add_flag("--json", arguments->json, "For programs");
  verify_command.footer(
      "Exit code 4 when anything is bad.\n\n"
      "Examples:\n"
      "  residuum data verify /usr/share/datasets/fashion-mnist\n"
      "  residuum data verify imagenet --split train --threads 8 --json");
  command.footer("Example:\n  residuum data verify /usr/share/datasets/fashion-mnist");
  return {command, [arguments] { return verify(*arguments); }};
}

}  // namespace residuum
