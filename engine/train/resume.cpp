#include "engine/train/resume.h"

#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>

#include "engine/core/check.h"
#include "engine/core/crc32c.h"
#include "engine/train/switches.h"

namespace residuum {
namespace {

constexpr int kFormat = 1;

nlohmann::json to_json(const Evaluation& e) {
  return {{"samples", e.samples}, {"top1", e.top1}, {"top5", e.top5}, {"loss", e.loss}};
}

Evaluation evaluation_from_json(const nlohmann::json& json) {
  const nlohmann::json& loss = json.at("loss");  // null: not finite
  return {json.at("samples").get<int64_t>(), json.at("top1").get<int64_t>(), json.at("top5").get<int64_t>(),
          loss.is_null() ? std::numeric_limits<double>::quiet_NaN() : loss.get<double>()};
}

/// "train.batch" -> "128" for every line of a recipe's TOML.
std::map<std::string, std::string> flat_keys(const std::string& toml) {
  std::map<std::string, std::string> keys;
  std::istringstream lines(toml);
  std::string section;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('[')) section = line.substr(1, line.find(']') - 1) + ".";
    const size_t equals = line.find(" = ");
    if (equals != std::string::npos && !line.starts_with('#'))
      keys[section + line.substr(0, equals)] = line.substr(equals + 3);
  }
  return keys;
}

/// Whether a step's learning rate depends on how many steps there are.
bool depends_on_length(const ScheduleRecipe& schedule) {
  return schedule.kind == ScheduleKind::kCosine || schedule.kind == ScheduleKind::kPoly;
}

std::string label_checksum(const Dataset& data) {
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < data.size(); ++i) labels.push_back(data.label(i));
  return fmt::format("{:08x}", crc32c(std::as_bytes(std::span(labels))));
}

}  // namespace

std::string data_facts(const Dataset& train_data, const Dataset& test_data, int64_t classes) {
  return fmt::format(
      "training_samples = {}\ntest_samples = {}\nclasses = {}\ntraining_labels = {}\ntest_labels = {}\n",
      train_data.size(), test_data.size(), classes, label_checksum(train_data), label_checksum(test_data));
}

nlohmann::json to_json(const Progress& progress, const Recipe& recipe, const std::string& facts) {
  return {{"format", kFormat},
          {"step", progress.step},
          {"best_step", progress.best_step},
          {"last", to_json(progress.last)},
          {"best", to_json(progress.best)},
          {"evaluation_due", progress.evaluation_due},
          {"average", progress.average.to_json()},
          {"unreadable", progress.unreadable},
          {"data", facts},
          {"recipe", to_toml(recipe)}};
}

Progress progress_from_json(const nlohmann::json& meta) {
  try {
    check(meta.at("format").get<int>() == kFormat, ErrorKind::kCheckpoint,
          "training state has format {}, this program reads {}", meta.at("format").get<int>(), kFormat);
    return {meta.at("step").get<int64_t>(),
            meta.at("best_step").get<int64_t>(),
            evaluation_from_json(meta.at("last")),
            evaluation_from_json(meta.at("best")),
            meta.value("evaluation_due", false),
            meta.contains("average") ? StepAverage::from_json(meta["average"]) : StepAverage(),
            meta.value("unreadable", std::set<int64_t>())};
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::kCheckpoint, "training state: {}", error.what());
  }
}

Recipe deciding_part(Recipe recipe) {
  const Recipe defaults;
  recipe.train.threads = defaults.train.threads;
  recipe.train.log_every = defaults.train.log_every;
  recipe.train.eval_batch = defaults.train.eval_batch;
  recipe.train.bucket_bytes = defaults.train.bucket_bytes;
  recipe.train.disable_passes = deciding_switches(recipe.train.disable_passes);
  recipe.data.threads = defaults.data.threads;
  recipe.data.prefetch = defaults.data.prefetch;
  recipe.data.path = defaults.data.path;
  recipe.data.augment_on = defaults.data.augment_on;
  recipe.checkpoint = defaults.checkpoint;
  return recipe;
}

std::string differing_keys(const std::string& toml, std::string_view name, const std::string& other_toml,
                           std::string_view other_name) {
  const auto keys = flat_keys(toml);
  std::string differences;
  for (const auto& [key, value] : flat_keys(other_toml)) {
    const auto found = keys.find(key);
    const std::string first = found == keys.end() ? "nothing" : found->second;
    if (first != value)
      differences += fmt::format("\n  {}: {} {}, {} {}", key, name, first, other_name, value);
  }
  return differences;
}

void check_resumable(const nlohmann::json& meta, const Recipe& now, const std::string& facts) {
  Recipe before = deciding_part(parse_recipe(meta.value("recipe", std::string()), "saved recipe"));
  const Recipe after = deciding_part(now);
  if (!depends_on_length(before.schedule) && !depends_on_length(after.schedule)) {
    before.train.epochs = after.train.epochs;
    before.train.steps = after.train.steps;
  }
  // They end a run or let it go on: no step that was done would have been another one.
  before.train.nan_policy = after.train.nan_policy;
  before.data.bad_sample_limit = after.data.bad_sample_limit;
  const std::string differences = differing_keys(to_toml(before), "saved", to_toml(after), "now");
  check(differences.empty(), ErrorKind::kConfig,
        "the run cannot be resumed with a recipe that would change its numbers:{}", differences);
  const std::string other_data = differing_keys(meta.value("data", facts), "saved", facts, "now");
  check(other_data.empty(), ErrorKind::kData, "the run cannot be resumed with other data:{}", other_data);
}

}  // namespace residuum
