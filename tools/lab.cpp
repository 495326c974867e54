// residuum lab: takes networks apart. One file per verb, lab_VERB.cpp; here is what they share.
#include "tools/lab.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "engine/checkpoint/safetensors.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/train/training_setup.h"
#include "engine/train/weights.h"
#include "models/recipe_model.h"
#include "tools/data_source.h"
#include "tools/exit_codes.h"
#include "tools/output.h"

namespace residuum {
namespace {

std::unique_ptr<Dataset> open_data(const LabArguments& arguments, Recipe& recipe) {
  std::unique_ptr<Dataset> data =
      open_split(recipe, arguments.split == "train" ? Split::kTrain : Split::kTest);
  if (arguments.limit == 0 || arguments.limit >= data->size()) return data;
  return subset(std::shared_ptr<const Dataset>(std::move(data)), 0, arguments.limit);
}

}  // namespace

void add_lab_options(CLI::App& command, LabArguments& arguments) {
  add_model_source(command, arguments.source);
  arguments.source.keys.add_to(command, {kModelFlag,
                                         kDataFlag,
                                         {"--eval-batch", "train.eval_batch", "train.eval_batch"},
                                         kPrecisionFlag,
                                         kThreadsFlag});
  command.add_option("--split", arguments.split, "test or train")
      ->check(CLI::IsMember({"test", "train"}))
      ->capture_default_str();
  command.add_option("--limit", arguments.limit, "Use the first N images only; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command.add_option("--seed", arguments.seed, "Of random choices")->capture_default_str();
  add_device_options(command, arguments.device);
  command.add_option("--out", arguments.out, "Where the results go: JSON, CSV and a page")->type_name("DIR");
  command.add_flag("--json", arguments.json, "For programs");
}

LabSession::LabSession(const LabArguments& arguments, WeightsNeed need)
    : source_(find_model_source(arguments.source, need)), split_(arguments.split) {
  Recipe& recipe = source_.recipe;
  data_ = open_data(arguments, recipe);
  check_combinations(recipe);
  backend_ = open_device(arguments.device, static_cast<int>(recipe.train.threads), recipe.train.precision);
  device_ = backend_->describe();
  state_ = std::make_unique<State>(*backend_);
  subject_ = std::make_unique<Subject>(
      Subject{recipe.model.name, model_builder(recipe), recipe, *data_, *backend_, *state_});
  const SampleBatches one = sample_batches(*subject_, 1, 1, arguments.seed);
  state_->add(forward_graph(*subject_, Mode::kTrain, one), static_cast<uint64_t>(recipe.train.seed));
  if (!source_.weights.empty()) import_weights(*state_, SafetensorsFile::read(source_.weights));
}

nlohmann::ordered_json LabSession::head(const std::string& analysis) const {
  nlohmann::ordered_json json = {{"analysis", analysis},
                                 {"model", source_.recipe.model.name},
                                 {"weights", source_.weights.string()},
                                 {"data", source_.recipe.data.path},
                                 {"split", split_},
                                 {"samples", data_->size()},
                                 {"device", device_}};
  if (source_.weights.empty()) json["weights"] = nullptr;
  return json;
}

void lab_progress(const std::string& text) {
  std::fprintf(stderr, "%s\n", text.c_str());
}

void finish_analysis(const LabArguments& arguments, const std::string& analysis,
                     const nlohmann::ordered_json& json, const std::string& text) {
  if (!arguments.out.empty()) {
    make_directories(arguments.out);
    write_file_atomically(std::filesystem::path(arguments.out) / (analysis + ".json"), json.dump(2) + "\n");
  }
  if (arguments.json) {
    print_json(json);
  } else {
    print_result(text);
  }
}

Verb lab_verb(CLI::App& program) {
  CLI::App* command = program.add_subcommand("lab", "Takes networks apart: lesions, paths, gradients");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  residuum lab lesion --run runs/a --out lab/a\n"
      "  residuum lab paths --model cifar_resnet110 --count-only\n"
      "  residuum lab lesion --help");
  const std::vector<Verb> verbs = {lab_lesion_verb(*command),    lab_shuffle_verb(*command),
                                   lab_paths_verb(*command),     lab_degradation_verb(*command),
                                   lab_shortcuts_verb(*command), lab_placements_verb(*command)};
  return {command, [verbs]() -> int {
            for (const Verb& verb : verbs) {
              if (verb.command->parsed()) return verb.run();
            }
            fail(ErrorKind::kInternal, "no verb of lab was run");
          }};
}

}  // namespace residuum
