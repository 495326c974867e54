// residuum train: a recipe, the command line's changes to it, and a training run in a directory of its own.
#include <fmt/core.h>

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "engine/core/check.h"
#include "engine/core/json.h"
#include "engine/core/log.h"
#include "engine/train/metrics_observer.h"
#include "engine/train/progress.h"
#include "engine/train/team.h"
#include "engine/train/trainer.h"
#include "engine/train/units.h"
#include "models/recipe_model.h"
#include "models/zoo.h"
#include "tools/data_source.h"
#include "tools/device.h"
#include "tools/environment.h"
#include "tools/evaluation_json.h"
#include "tools/exit_codes.h"
#include "tools/model_source.h"
#include "tools/output.h"
#include "tools/ranks.h"
#include "tools/recipe_arguments.h"
#include "tools/run_page.h"
#include "tools/verbs.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

struct TrainArguments {
  std::string recipe, out;
  DeviceOptions device;
  RankOptions ranks;
  RecipeArguments keys;
  bool resume = false, json = false, help_keys = false;
};

/// What a run's directory says; rank 0 reads it, as the others may not see the directory.
Recipe resumed_recipe(const TrainArguments& arguments, Communicator* communicator) {
  const Team team(communicator);
  const fs::path path = fs::path(arguments.out) / "recipe.toml";
  const std::string text =
      team.from_leader(team.leads() ? to_toml(load_run_recipe(arguments.out)) : "", "resumed recipe");
  return parse_recipe(text, path.string(), arguments.keys.overrides());
}

Recipe read_recipe(const TrainArguments& arguments, Communicator* communicator) {
  const std::vector<std::string> overrides = arguments.keys.overrides();
  if (!arguments.recipe.empty()) return load_recipe(arguments.recipe, overrides);
  if (arguments.resume) return resumed_recipe(arguments, communicator);
  check(arguments.keys.value("--model").has_value(), ErrorKind::kUsage,
        "train needs a recipe, or --model and --data, or --resume and --out (see residuum train --help)");
  return parse_recipe("", "command line", overrides);
}

/// runs/cifar_resnet20-20240531-123456
fs::path output_directory(const TrainArguments& arguments, const Recipe& recipe) {
  if (!arguments.out.empty()) return arguments.out;
  return fs::path("runs") / (recipe.model.name + "-" + utc_time("%Y%m%d-%H%M%S"));
}

double images_per_second(const TrainResult& result) {
  return result.train_seconds > 0 ? static_cast<double>(result.train_images) / result.train_seconds : 0;
}

/// Writes the page of a run that has ended and returns its path; empty where this build writes none, or, with
/// a warning, where it cannot be written: that costs no result.
std::string write_page(const fs::path& out) {
  if (!can_write_pages()) return "";
  const fs::path file = out / "report.html";
  try {
    run_page({read_run(out)}).write(file);
  } catch (const Error& error) {
    log_warning("no {}: {}", file.string(), error.what());
    return "";
  }
  return file.string();
}

nlohmann::ordered_json to_json(const TrainResult& result, const fs::path& out, const std::string& page) {
  return {{"out", out.string()},
          {"steps", result.steps},
          {"interrupted", result.interrupted},
          {"test", to_json(result.last)},
          {"best", to_json(result.best)},
          {"images_per_second", images_per_second(result)},
          {"train_seconds", result.train_seconds},
          {"weights", (out / "checkpoints" / "last.safetensors").string()},
          {"report", page.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(page)}};
}

std::string to_text(const TrainResult& result, const fs::path& out, const std::string& page) {
  const std::string pace =
      result.train_images == 0
          ? (result.interrupted
                 ? std::string()
                 : fmt::format("no step was left to do: the run has ended at step {}\n", result.steps))
          : fmt::format("{} images in {} of training steps, {:.0f} images/s\n",
                        count_text(result.train_images), duration_text(result.train_seconds),
                        images_per_second(result));
  if (result.interrupted) {
    return fmt::format(
        "{}interrupted after step {}, state saved; to go on: residuum train --resume --out {}\n", pace,
        result.steps, out.string());
  }
  return fmt::format(
      "{}test top1 {} after the last step, best {}\nweights {}\nreport {}\n", pace,
      percent_text(result.last.top1_accuracy()), percent_text(result.best.top1_accuracy()),
      (out / "checkpoints" / "last.safetensors").string(),
      page.empty() ? "not written" + std::string(can_write_pages() ? "" : ": this build has no chart library")
                   : page);
}

/// A closed or full standard output costs the report, not the result of the run.
void print_unless_closed(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

/// The exchange waits at its end for sums under way: the other ranks must hear of an error before that.
TrainResult train_or_tell(const Recipe& recipe, const ModelBuilder& build, const Dataset& train_data,
                          const Dataset& test_data, Backend& backend, const TrainOptions& options) {
  try {
    return train(recipe, build, train_data, test_data, backend, options);
  } catch (const std::exception& error) {
    if (options.communicator != nullptr) options.communicator->fail(error.what());
    throw;
  }
}

/// The recipe with the cores this process may use, less those of its neighbours.
TrainRecipe with_own_threads(TrainRecipe recipe, const RankPlace& place) {
  if (recipe.threads > 0 || place.local_ranks == 1) return recipe;
  cpu_set_t set;
  CPU_ZERO(&set);
  const int cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
  recipe.threads = std::max(1, cores / place.local_ranks);
  return recipe;
}

int train_as_rank(const TrainArguments& arguments, const RankPlace& place, Communicator* communicator) {
  Recipe recipe = read_recipe(arguments, communicator);
  model_defaults(recipe.model.name);  // throws for an unknown name, before anything else is touched
  const auto train_data = open_split(recipe, Split::kTrain);
  const auto test_data = open_split(recipe, Split::kTest);
  check_combinations(recipe);
  if (place.rank == 0 && train_data->describe(0) == test_data->describe(0)) {
    log_warning("{} has no split: what is called test accuracy is that on the training images",
                recipe.data.path);
  }
  const auto backend = open_device(arguments.device, with_own_threads(recipe.train, place), gpu_of(place));
  const auto exchange = communicator == nullptr
                            ? nullptr
                            : make_exchange(*communicator, *backend, recipe.train.virtual_shards > 0);

  const fs::path out = output_directory(arguments, recipe);
  EnvironmentObserver environment;
  MetricsObserver metrics;
  const auto progress = make_progress(arguments.json ? stderr : stdout);
  const TrainOptions options{
      out, arguments.resume, {&environment, &metrics, progress.get()}, communicator, exchange.get()};
  const TrainResult result =
      train_or_tell(recipe, model_builder(recipe), *train_data, *test_data, *backend, options);

  if (place.rank == 0) {
    const std::string page = result.interrupted ? "" : write_page(out);
    print_unless_closed(arguments.json ? json_text(to_json(result, out, page)) + "\n"
                                       : to_text(result, out, page));
  }
  return result.interrupted ? kExitInterrupted : kExitOk;
}

int run_training(const TrainArguments& arguments) {
  if (arguments.help_keys) {
    print_result(describe_recipe_keys());
    return kExitOk;
  }
  check(!arguments.resume || !arguments.out.empty(), ErrorKind::kUsage,
        "--resume needs --out DIR of the run");
  const RankPlace place = find_place(arguments.ranks.flags);
  const auto communicator = join(place, arguments.ranks);
  if (communicator == nullptr) return train_as_rank(arguments, place, nullptr);
  try {
    return train_as_rank(arguments, place, communicator.get());
  } catch (const Error& error) {
    communicator->fail(error.what());
    fail(error.kind(), "rank {}: {}", place.rank, error.what());
  } catch (const std::exception& error) {
    communicator->fail(error.what());
    throw;
  }
}

constexpr const char* kFooter =
    "A run's directory holds recipe.toml (every key, resolved), environment.json, metrics.jsonl, "
    "metrics.csv,\n"
    "events.out.tfevents.* (TensorBoard), at the end report.html, and checkpoints/ with last.safetensors, "
    "best.safetensors and the\n"
    "states a resume needs. SIGTERM, SIGINT or SIGHUP: the step, or the batch of an evaluation, is finished, "
    "the state "
    "saved,\nexit code 75; another signal, two seconds later or more, ends the program at once.\n\n"
    "Examples:\n"
    "  residuum train models/recipes/fashion_mnist.toml --data /usr/share/datasets/fashion-mnist --out "
    "runs/a\n"
    "  residuum train --resume --out runs/a\n"
    "  residuum train --model cifar_resnet56 --data cifar10 --epochs 160 --set data.augment=pad_crop_flip\n"
    "  residuum train models/recipes/imagenet_resnet50_v1.toml --data imagenet --precision bf16 --batch 128\n"
    "  residuum train --model resnet50 --weights resnet50.safetensors --data flowers --epochs 10 --lr 0.01";

}  // namespace

Verb train_verb(const Command& program) {
  const Command command = program.add_command("train", "Train a model from a recipe");
  const auto arguments = std::make_shared<TrainArguments>();
  command.add_option("recipe", arguments->recipe, "TOML file; without one the keys have their defaults")
      .type_name("RECIPE.toml");
  arguments->keys.add_to(
      command, {kModelFlag,
                kDataFlag,
                {"--weights", "train.weights", "train.weights: safetensors file that training starts from"},
                {"--epochs", "train.epochs", "train.epochs, in place of train.steps"},
                {"--steps", "train.steps", "train.steps, in place of train.epochs"},
                {"--batch", "train.batch", "train.batch"},
                {"--lr", "optimizer.lr", "optimizer.lr: before the schedule"},
                {"--seed", "train.seed", "train.seed: of all randomness"},
                kPrecisionFlag,
                kThreadsFlag});
  command.add_option("--out", arguments->out, "Directory of the run; default runs/MODEL-DATE")
      .type_name("DIR");
  command.add_flag("--resume", arguments->resume,
                   "Continue the run in --out, by its recipe.toml if none is given");
  add_device_options(command, arguments->device);
  add_rank_options(command, arguments->ranks);
  command.add_flag("--json", arguments->json, "Progress to standard error, one line of JSON at the end");
  command.add_flag("--help-keys", arguments->help_keys, "All keys of a recipe, with allowed values");
  command.footer(kFooter);
  return {command, [arguments] { return run_training(*arguments); }};
}

}  // namespace residuum
