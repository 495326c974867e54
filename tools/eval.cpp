// residuum eval: exact accuracy of weights on a data set, and the logits of every sample.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "engine/checkpoint/safetensors.h"
#include "engine/core/check.h"
#include "engine/core/log.h"
#include "engine/train/evaluator.h"
#include "engine/train/units.h"
#include "engine/train/weights.h"
#include "models/recipe_model.h"
#include "tools/data_source.h"
#include "tools/device.h"
#include "tools/evaluation_json.h"
#include "tools/exit_codes.h"
#include "tools/model_source.h"
#include "tools/output.h"
#include "tools/verbs.h"

namespace residuum {
namespace {

struct EvalArguments {
  ModelSourceArguments source;
  std::string split = "test", logits;
  DeviceOptions device;
  bool json = false;
};

/// The logits of samples in the order of the data set.
class LogitsCollector {
 public:
  explicit LogitsCollector(int64_t classes) : classes_(classes) {}

  void add(const Batch& batch, const std::vector<float>& logits) {
    for (size_t row = 0; row < batch.ids.size(); ++row) {
      if (batch.ids[row] < 0) continue;  // padding
      const auto first = logits.begin() + static_cast<std::ptrdiff_t>(row) * classes_;
      logits_.insert(logits_.end(), first, first + classes_);
      labels_.push_back(batch.labels[row]);
    }
  }

  /// "logits" F32 [samples, classes] and "labels" I64 [samples]; -1 for a sample that could not be read.
  void write(const std::string& path) const {
    const auto samples = static_cast<int64_t>(labels_.size());
    const std::vector<StoredTensor> tensors = {
        {"logits", "F32", {samples, classes_}, std::as_bytes(std::span(logits_))},
        {"labels", "I64", {samples}, std::as_bytes(std::span(labels_))}};
    write_safetensors(path, tensors);
  }

 private:
  int64_t classes_;
  std::vector<float> logits_;
  std::vector<int64_t> labels_;
};

struct EvalResult {
  Evaluation evaluation;
  int64_t dataset_size = 0, classes = 0;
  double seconds = 0;
  std::string device;
};

/// Labels that mean something else than they did in training give a wrong accuracy and no error.
void warn_of_other_classes(const SafetensorsFile& weights, const Dataset& dataset, const std::string& path) {
  const std::vector<std::string> trained = class_names(weights), &found = dataset.classes();
  const auto [own, other] = std::mismatch(trained.begin(), trained.end(), found.begin(), found.end());
  if (own == trained.end() || other == found.end()) return;
  log_warning("class {} of {} is '{}', that of the data {} was trained on is '{}'", other - found.begin(),
              path, *other, weights.name(), *own);
}

EvalResult evaluate(const EvalArguments& arguments, ModelSource& source) {
  check_can_write(arguments.logits);
  Recipe& recipe = source.recipe;
  const SafetensorsFile weights = SafetensorsFile::read(source.weights);
  const auto dataset = open_split(recipe, arguments.split == "train" ? Split::kTrain : Split::kTest);
  check_combinations(recipe);
  const auto named = static_cast<int64_t>(dataset->classes().size());
  if (recipe.model.classes > named) {
    log_warning("{} has {} classes and the model {}: the data set's are taken for the model's first ones",
                recipe.data.path, named, recipe.model.classes);
  }
  warn_of_other_classes(weights, *dataset, recipe.data.path);
  const auto backend = open_device(arguments.device, recipe.train);
  State state(*backend);
  Evaluator evaluator(model_builder(recipe), *dataset, recipe, *backend, state);
  import_weights(state, weights);

  EvalResult result;
  const auto begin = std::chrono::steady_clock::now();
  if (arguments.logits.empty()) {
    result.evaluation = evaluator.run();
  } else {
    LogitsCollector collector(evaluator.classes());
    result.evaluation =
        evaluator.run([&](const Batch& batch, const auto& logits) { collector.add(batch, logits); });
    collector.write(arguments.logits);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  result.dataset_size = dataset->size();
  result.classes = evaluator.classes();
  result.device = backend->describe();
  return result;
}

nlohmann::ordered_json to_json(const EvalArguments& arguments, const ModelSource& source,
                               const EvalResult& result) {
  nlohmann::ordered_json json = {{"model", source.recipe.model.name},   {"weights", source.weights.string()},
                                 {"data", source.recipe.data.path},     {"split", arguments.split},
                                 {"dataset_size", result.dataset_size}, {"classes", result.classes}};
  json.update(to_json(result.evaluation));
  json["device"] = result.device;
  json["seconds"] = result.seconds;
  json["images_per_second"] = static_cast<double>(result.evaluation.samples) / result.seconds;
  if (!arguments.logits.empty()) json["logits"] = arguments.logits;
  return json;
}

std::string to_text(const EvalArguments& arguments, const ModelSource& source, const EvalResult& result) {
  const Evaluation& found = result.evaluation;
  const std::string unread =
      found.samples == result.dataset_size
          ? ""
          : fmt::format(" ({} could not be read)", result.dataset_size - found.samples);
  return fmt::format(
      "{} with {}\n{} split of {}: {} samples{}\n"
      "top1 {} ({}/{})  top5 {} ({}/{})  loss {}\n{:.0f} images/s\n",
      source.recipe.model.name, source.weights.string(), arguments.split, source.recipe.data.path,
      count_text(found.samples), unread, percent_text(found.top1_accuracy()), found.top1, found.samples,
      percent_text(found.top5_accuracy()), found.top5, found.samples, loss_text(found.loss, 6),
      static_cast<double>(found.samples) / result.seconds);
}

int run_eval(const EvalArguments& arguments) {
  ModelSource source = find_model_source(arguments.source);
  const EvalResult result = evaluate(arguments, source);
  if (arguments.json) {
    print_json(to_json(arguments, source, result));
  } else {
    print_result(to_text(arguments, source, result));
  }
  return kExitOk;
}

}  // namespace

Verb eval_verb(const Command& program) {
  const Command command = program.add_command("eval", "Exact accuracy of weights on a data set");
  const auto arguments = std::make_shared<EvalArguments>();
  add_model_source(command, arguments->source);
  arguments->source.keys.add_to(command, {kModelFlag,
                                          kDataFlag,
                                          {"--batch", "train.eval_batch", "train.eval_batch"},
                                          kPrecisionFlag,
                                          kThreadsFlag});
  command.add_option("--split", arguments->split, "test or train").one_of({"test", "train"}).show_default();
  command
      .add_option("--logits", arguments->logits,
                  "Write logits [samples, classes] and labels, in the order of the data set")
      .type_name("FILE.safetensors");
  add_device_options(command, arguments->device);
  command.add_flag("--json", arguments->json, "For programs");
  command.footer(
      "Weights written by train carry their recipe and are evaluated by its normalisation; others by the "
      "model's own,\nunless --recipe or --set data.mean=[...] says more.\n\n"
      "Examples:\n"
      "  residuum eval --run runs/a\n"
      "  residuum eval --model resnet50 --weights resnet50.safetensors --data imagenet --json\n"
      "  residuum eval --run runs/a --best --split train --logits logits.safetensors");
  return {command, [arguments] { return run_eval(*arguments); }};
}

}  // namespace residuum
