// residuum predict: the most probable classes of images.
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "engine/core/check.h"
#include "engine/data/file.h"
#include "engine/data/transform.h"
#include "engine/exec/executor.h"
#include "engine/train/recipe_transform.h"
#include "engine/train/units.h"
#include "engine/train/weights.h"
#include "models/recipe_model.h"
#include "tools/data_source.h"
#include "tools/device.h"
#include "tools/exit_codes.h"
#include "tools/model_source.h"
#include "tools/output.h"
#include "tools/verbs.h"
#include "tools/weights_shape.h"

namespace residuum {
namespace {

struct PredictArguments {
  ModelSourceArguments source;
  std::vector<std::string> images;
  DeviceOptions device;
  bool json = false;
};

/// What an image is turned into, and what the answers are called.
struct Task {
  Transform transform;
  int channels = 3;
  std::vector<std::string> classes;
};

struct Prediction {
  size_t index = 0;  ///< of the class
  double probability = 0;
};

/// The data set of the recipe, if it is there; one that the command line names must be.
std::unique_ptr<Dataset> find_dataset(const Recipe& recipe, bool asked_for) {
  const bool there = asked_for || (!recipe.data.path.empty() && std::filesystem::exists(recipe.data.path));
  return there ? open_dataset(recipe.data.path, Split::kTest, open_options(recipe.data)) : nullptr;
}

std::vector<std::string> numbered(int64_t count) {
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) names.push_back(std::to_string(i));
  return names;
}

/// Names for that many classes: of the data set that the command line names, those in the weights file, of
/// the recipe's data set, or numbers.
std::vector<std::string> find_names(int64_t count, const SafetensorsFile& weights, const Dataset* dataset,
                                    bool data_asked_for) {
  const std::vector<std::string> inside = class_names(weights);
  const std::vector<std::string> outside = dataset ? dataset->classes() : std::vector<std::string>();
  for (const auto* names : {data_asked_for ? &outside : &inside, data_asked_for ? &inside : &outside}) {
    if (static_cast<int64_t>(names->size()) == count) return *names;
  }
  return numbered(count);
}

Task find_task(const Recipe& recipe, const SafetensorsFile& weights, bool data_asked_for) {
  const WeightsShape shape = weights_shape(recipe, weights);
  const std::unique_ptr<Dataset> dataset = find_dataset(recipe, data_asked_for);
  Task task;
  task.channels = static_cast<int>(shape.channels);
  task.classes = find_names(shape.classes, weights, dataset.get(), data_asked_for);
  task.transform = eval_transform(recipe.data);
  if (std::holds_alternative<KeepImage>(task.transform)) {
    // Images of any size come in; the model saw those of its data set as they were.
    const std::optional<ImageShape> own = dataset ? dataset->image_shape() : std::nullopt;
    const int size = own ? own->height : shape.size;
    task.transform = ResizeCenterCrop{size, size};
  }
  return task;
}

Image read_image(const std::string& path, const Task& task, const DecodeOptions& options) {
  const std::vector<std::byte> bytes = read_file(path);
  RandomStream unused(0, RandomPurpose::kAugment, 0, 0);
  try {
    return apply(task.transform, decode_image(bytes, task.channels, options), unused);
  } catch (const Error& error) {
    fail(error.kind(), "{}: {}", path, error.what());
  }
}

/// The `count` largest of softmax(logits), largest first.
std::vector<Prediction> top_predictions(const std::vector<float>& logits, size_t count) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(count, order.size()));
  std::partial_sort(order.begin(), end, order.end(), [&](size_t a, size_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  });
  std::vector<Prediction> top;
  for (auto i = order.begin(); i != end; ++i) top.push_back({*i, std::exp(logits[*i] - largest) / sum});
  return top;
}

class Predictor {
 public:
  Predictor(const Recipe& recipe, const SafetensorsFile& weights, Task task, Backend& backend)
      : options_(open_options(recipe.data).decode),
        task_(std::move(task)),
        state_(backend),
        executor_(graph_of(recipe, task_), backend, state_) {
    import_weights(state_, weights);
  }

  std::vector<Prediction> predict(const std::string& path) {
    constexpr size_t kShown = 5;
    executor_.write("images", read_image(path, task_, options_).pixels);
    executor_.write("labels", std::vector<int32_t>{-1});
    executor_.run_micro_step({});
    return top_predictions(executor_.read<float>("logits"), kShown);
  }
  const std::string& class_name(const Prediction& p) const { return task_.classes.at(p.index); }

 private:
  static Graph graph_of(const Recipe& recipe, const Task& task) {
    const ImageShape shape = output_shape(task.transform, {1, 1, task.channels});
    return model_builder(recipe)({Mode::kEval, 1, shape, static_cast<int64_t>(task.classes.size())});
  }

  DecodeOptions options_;
  Task task_;
  State state_;
  Executor executor_;
};

int run_predict(const PredictArguments& arguments) {
  const ModelSource source = find_model_source(arguments.source);
  const Recipe& recipe = source.recipe;
  const SafetensorsFile weights = SafetensorsFile::read(source.weights);
  const auto backend = open_device(arguments.device, recipe.train);
  const bool data_asked_for = arguments.source.keys.value("--data").has_value();
  Predictor predictor(recipe, weights, find_task(recipe, weights, data_asked_for), *backend);

  nlohmann::ordered_json json = {{"model", recipe.model.name}, {"weights", source.weights.string()}};
  json["images"] = nlohmann::ordered_json::array();
  std::string text;
  for (const std::string& path : arguments.images) {
    nlohmann::ordered_json classes = nlohmann::ordered_json::array();
    text += path + "\n";
    for (const Prediction& prediction : predictor.predict(path)) {
      const std::string& name = predictor.class_name(prediction);
      classes.push_back(
          {{"index", prediction.index}, {"name", name}, {"probability", prediction.probability}});
      text += fmt::format("{:>10}  {}\n", percent_text(prediction.probability), name);
    }
    json["images"].push_back({{"image", path}, {"classes", std::move(classes)}});
  }
  if (arguments.json) {
    print_json(json);
  } else {
    print_result(text);
  }
  return kExitOk;
}

}  // namespace

Verb predict_verb(const Command& program) {
  const Command command = program.add_command("predict", "The five most probable classes of images");
  const auto arguments = std::make_shared<PredictArguments>();
  command.add_option("images", arguments->images, "JPEG or PNG files").required().type_name("IMAGE...");
  add_model_source(command, arguments->source);
  arguments->source.keys.add_to(command, {kModelFlag, kDataFlag, kPrecisionFlag, kThreadsFlag});
  add_device_options(command, arguments->device);
  command.add_flag("--json", arguments->json, "For programs");
  command.footer(
      "Classes have the names of --data, else those that train wrote into the weights file, else numbers. "
      "An\n"
      "image is resized to what the model was trained on.\n\n"
      "Examples:\n"
      "  residuum predict --run runs/a boot.png\n"
      "  residuum predict --model resnet50 --weights resnet50.safetensors --data imagenet cat.jpg dog.jpg");
  return {command, [arguments] { return run_predict(*arguments); }};
}

}  // namespace residuum
