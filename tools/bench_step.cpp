// residuum bench step: images per second of whole training steps, by phase and by launch.
#include <sys/resource.h>

#include <iostream>
#include <memory>

#include "bench/step.h"
#include "engine/core/check.h"
#include "engine/core/json.h"
#include "engine/train/units.h"
#include "models/zoo.h"
#include "tools/bench_verbs.h"
#include "tools/data_source.h"
#include "tools/device.h"
#include "tools/exit_codes.h"
#include "tools/output.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;
using bench::StepBench;
using bench::StepRound;

struct StepArguments {
  Recipe recipe;
  DeviceOptions device;
  std::string precision, json;
  int threads = 0, warm_up = 3, steps = 10;
  bool per_launch = false, on_request = false;
};

/// What training would do with the data: crops of photographs, windows of small images.
void choose_augmentation(Recipe& recipe) {
  constexpr int64_t kPhotograph = 128;
  const int64_t size = model_defaults(recipe.model.name).image_size;
  recipe.data.augment = size >= kPhotograph ? Augment::kRandomResizedCrop : Augment::kPadCropFlip;
  recipe.data.image_size = size >= kPhotograph ? size : 0;
}

int64_t resident_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

Json round_json(const StepArguments& arguments, const StepRound& round) {
  const bench::Statistics seconds = bench::statistics_of(round.seconds);
  return {{"implementation", "residuum"},
          {"model", arguments.recipe.model.name},
          {"batch", arguments.recipe.train.batch},
          {"precision", arguments.precision},
          {"seconds", round.seconds},
          {"median_seconds", seconds.median},
          {"p20_seconds", seconds.p20},
          {"p80_seconds", seconds.p80},
          {"images_per_second", round.images_per_second(arguments.recipe.train.batch)},
          {"loss", round.loss}};
}

std::string to_text(const Json& report) {
  const auto number = [&](const char* key) { return report[key].get<double>(); };
  const auto ms = [&](const char* phase) { return 1e3 * report["phases"][phase]["median"].get<double>(); };
  std::string text = fmt::format("{}\n{}, batch {}, {}, {}\n", report["device"].get<std::string>(),
                                 report["model"].get<std::string>(), report["batch"].get<int64_t>(),
                                 report["precision"].get<std::string>(), report["data"].get<std::string>());
  text +=
      fmt::format("{:.1f} images/s; a step {:.3f} ms (p20 {:.3f}, p80 {:.3f})\n", number("images_per_second"),
                  1e3 * number("median_seconds"), 1e3 * number("p20_seconds"), 1e3 * number("p80_seconds"));
  text += fmt::format("forward {:.3f} ms, backward {:.3f} ms, update {:.3f} ms, each alone\n", ms("forward"),
                      ms("backward"), ms("update"));
  text += fmt::format("{} launches, {:.2f} MB and {:.3f} GFLOP an image; {:.0f} % of the plan's roofline\n",
                      report["launches"].get<int64_t>(), number("mb_per_image"), number("gflop_per_image"),
                      100 * number("roofline_share"));
  text += fmt::format("memory: {} planned on the device, {} resident at most in this process\n",
                      bytes_text(report["peak_bytes"].get<int64_t>()),
                      bytes_text(report["resident_bytes"].get<int64_t>()));
  if (!report.contains("per_launch")) return text;
  text += fmt::format("\n{:>6} {:>9} {:>10} {:>8} {:>5}  {:<7} nodes\n", "launch", "ms", "GFLOP/s", "GB/s",
                      "roof", "bound");
  for (const Json& row : report["per_launch"]) {
    text += fmt::format("{:>6} {:>9.4f} {:>10.1f} {:>8.1f} {:>4.0f}%  {:<7} {}\n",
                        row["launch"].get<size_t>(), row["ms"].get<double>(), row["gflops"].get<double>(),
                        row["gbytes_per_second"].get<double>(), 100 * row["roofline_share"].get<double>(),
                        row["bound"].get<std::string>(), row["nodes"].get<std::string>());
  }
  return text;
}

/// A round for each line on the standard input, one line of JSON each; bench/compare drives it.
void serve_rounds(const StepArguments& arguments, StepBench& step) {
  print_result("ready\n");
  for (std::string line; std::getline(std::cin, line);) {
    step.warm_up(1);
    Json json = round_json(arguments, step.measure(arguments.steps));
    json["peak_bytes"] = step.plan().peak_bytes();
    print_result(json_text(json) + "\n");
  }
}

int bench_step(StepArguments arguments) {
  check_can_write(arguments.json);
  Recipe& recipe = arguments.recipe;
  recipe.train.precision = precision_named(arguments.precision);
  recipe.train.threads = arguments.threads;
  recipe.optimizer.lr = 0.01;
  std::unique_ptr<Dataset> dataset;
  if (!recipe.data.path.empty()) {
    choose_augmentation(recipe);
    dataset = open_split(recipe, Split::kTrain);
  }
  const auto backend = open_device(arguments.device, recipe.train);
  StepBench step(*backend, recipe, dataset.get());
  step.warm_up(arguments.warm_up);
  if (arguments.on_request) {
    serve_rounds(arguments, step);
    return kExitOk;
  }
  const StepRound round = step.measure(arguments.steps);
  const bench::Sampling sampling{std::max(3, arguments.steps / 2), 0};
  const bench::Ceilings ceilings = bench::measure_ceilings(*backend, activation_type(recipe.train.precision),
                                                           bench::ceiling_sizes(*backend), sampling);
  const double roofline = step.roofline_seconds(ceilings);
  Json report = {
      {"kind", "step"}, {"device", backend->describe()}, {"environment", bench_environment(*backend)}};
  report.update(round_json(arguments, round));
  report["data"] = dataset ? recipe.data.path : "synthetic images";
  report.update(step.plan_json());
  report["phases"] = step.time_phases(sampling);
  report["ceilings"] = to_json(ceilings);
  report["roofline_images_per_second"] = static_cast<double>(recipe.train.batch) / roofline;
  report["roofline_share"] = roofline / report["median_seconds"].get<double>();
  report["resident_bytes"] = resident_bytes();
  if (arguments.per_launch) report["per_launch"] = step.time_launches(ceilings, sampling);
  write_report(arguments.json, report);
  if (arguments.json != "-") print_result(to_text(report));
  return kExitOk;
}

}  // namespace

Verb bench_step_verb(const Command& bench_command) {
  const Command command =
      bench_command.add_command("step", "Images/s of whole training steps, by phase and launch");
  const auto arguments = std::make_shared<StepArguments>();
  Recipe& recipe = arguments->recipe;
  recipe.model.name = "cifar_resnet20";
  arguments->precision = "fp32";
  command.add_option("--model", recipe.model.name, "Model of the zoo").show_default();
  command.add_option("--batch", recipe.train.batch, "Images a step")
      .range(int64_t{1}, int64_t{1} << 20)
      .show_default();
  command.add_option("--precision", arguments->precision, "fp32, tf32, bf16 or fp16")
      .one_of({kPrecisionNames.begin(), kPrecisionNames.end()})
      .show_default();
  command
      .add_option("--data", recipe.data.path,
                  "Load, augment and copy the images of this data set; default: made-up ones")
      .type_name("PATH");
  command.add_option("--loader-threads", recipe.data.threads, "That load, for --data")
      .range(0, 1024)
      .show_default();
  add_device_options(command, arguments->device);
  add_threads_option(command, arguments->threads);
  command.add_option("--warmup", arguments->warm_up, "Steps before measuring")
      .range(0, 1000000)
      .show_default();
  command.add_option("--steps", arguments->steps, "Steps measured").range(1, 1000000).show_default();
  command.add_flag("--recompute", recipe.train.recompute, "Forget activations inside blocks");
  command.add_flag("--gram-batch-norm", recipe.train.gram_batch_norm,
                   "Batch norms of wide 1x1 convolutions from the Gram matrix of their input");
  add_disable_pass_option(command, recipe.train.disable_passes);
  command.add_flag("--per-launch", arguments->per_launch, "Also time each launch");
  command.add_flag("--on-request", arguments->on_request,
                   "Measure a round for each line of the standard input, print one line of JSON each");
  command.add_option("--json", arguments->json, "Also write the report here; -: to standard output, no table")
      .type_name("FILE");
  command.footer(
      "Examples:\n"
      "  residuum bench step --model resnet50 --batch 256 --precision bf16 --per-launch\n"
      "  residuum bench step --model cifar_resnet20 --data cifar10 --loader-threads 4 --json step.json");
  return {command, [arguments] { return bench_step(*arguments); }};
}

}  // namespace residuum
