// Times whole training steps of a model on synthetic images: forward, backward and SGD update, data loading
// left out. Prints one JSON object: seconds of every measured step, images/s of the median step, the plan's
// peak memory.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "engine/backend/backend_passes.h"
#include "engine/core/random.h"
#include "engine/exec/executor.h"
#include "engine/graph/passes.h"
#include "engine/train/precision.h"
#include "models/zoo.h"

namespace {

using namespace residuum;  // NOLINT: a program, not a header

struct Options {
  std::string model = "cifar_resnet20", precision = "fp32", device = "auto";
  int64_t batch = 128;
  int threads = 0, warmup = 3, steps = 10;
  bool recompute = false, gram_batch_norm = false, per_launch = false;
  bool cudnn = false, autotune = false;
  std::string autotune_cache;
};

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app("Times training steps on synthetic images.");
  app.add_option("--model", o.model, "model of the zoo")->capture_default_str();
  app.add_option("--batch", o.batch, "images per step")->capture_default_str();
  app.add_option("--precision", o.precision, "fp32, tf32, bf16 or fp16")
      ->check(CLI::IsMember(std::vector<std::string>(kPrecisionNames.begin(), kPrecisionNames.end())))
      ->capture_default_str();
  app.add_option("--device", o.device, "auto, cpu or cuda")->capture_default_str();
  app.add_option("--threads", o.threads, "CPU threads, 0: all")->capture_default_str();
  app.add_option("--warmup", o.warmup, "steps before measuring")->capture_default_str();
  app.add_option("--steps", o.steps, "steps measured")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_flag("--recompute", o.recompute, "forget activations inside blocks");
  app.add_flag("--cudnn", o.cudnn, "convolutions by cuDNN where it can");
  app.add_flag("--autotune", o.autotune, "each launch by the fastest of own kernels and libraries");
  app.add_option("--autotune-cache", o.autotune_cache, "file that keeps what was measured");
  app.add_flag("--gram-batch-norm", o.gram_batch_norm,
               "batch norms of wide 1x1 convolutions from the Gram matrix of their input");
  app.add_flag("--per-launch", o.per_launch, "also time each launch");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  return o;
}

void write_synthetic_batch(Executor& executor, int64_t classes) {
  RandomStream random(1, RandomPurpose::kAnalysis, 0, 0);
  const Graph& graph = executor.graph();
  std::vector<uint8_t> images(static_cast<size_t>(graph.desc(*graph.find("images")).elements()));
  std::vector<int32_t> labels(static_cast<size_t>(graph.desc(*graph.find("labels")).elements()));
  for (uint8_t& pixel : images) pixel = static_cast<uint8_t>(random.next_u32());
  for (int32_t& label : labels)
    label = static_cast<int32_t>(random.uniform_below(static_cast<uint32_t>(classes)));
  executor.write("images", images);
  executor.write("labels", labels);
}

/// Seconds of each launch: the mean of `steps` runs in a row, the slowest launch first. A device runs them
/// behind each other, so what its host needs to launch one is hidden unless it takes longer.
nlohmann::json time_launches(Executor& executor, Backend& backend, const StepParams& params, int steps) {
  const Plan& plan = executor.plan();
  std::vector<double> seconds(plan.launches.size());
  for (size_t g = 0; g < plan.launches.size(); ++g) {
    plan.launches[g]->run(params);
    backend.synchronize();
    const auto begin = std::chrono::steady_clock::now();
    for (int step = 0; step < steps; ++step) plan.launches[g]->run(params);
    backend.synchronize();
    seconds[g] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / steps;
  }
  std::vector<nlohmann::json> rows;
  for (size_t g = 0; g < plan.launches.size(); ++g) {
    const Cost cost = plan.launches[g]->cost();
    std::string nodes;
    for (NodeId id : plan.groups[g].nodes) {
      const Node& node = plan.graph.node(id);
      nodes += fmt::format("{}{}:{}", nodes.empty() ? "" : " ", node.name, op_name(node.op));
    }
    const double time = seconds[g];
    rows.push_back(
        {{"launch", g},
         {"ms", time * 1e3},
         {"gflops", static_cast<double>(cost.flops) / time * 1e-9},
         {"gbytes_per_second", static_cast<double>(cost.bytes_read + cost.bytes_written) / time * 1e-9},
         {"nodes", nodes}});
  }
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a["ms"] > b["ms"]; });
  return rows;
}

nlohmann::json measure(const Options& o) {
  const std::unique_ptr<Backend> backend =
      make_backend(o.device, {.threads = o.threads,
                              .tf32 = precision_named(o.precision) == Precision::kTF32,
                              .cudnn = o.cudnn,
                              .autotune = o.autotune,
                              .autotune_cache = o.autotune_cache});
  ModelOptions model;
  model.batch = o.batch;
  model.activation = activation_type(precision_named(o.precision));
  State state(*backend);
  UpdateOptions update;
  update.weight_decay = 1e-4f;
  TrainingPassOptions passes = backend_passes(*backend);
  passes.update = update;
  passes.recompute = o.recompute;
  passes.gram_batch_norm = o.gram_batch_norm;
  Executor executor(run_passes(build_model(o.model, model), training_passes(passes)), *backend, state);
  write_synthetic_batch(executor, model_defaults(o.model).classes);

  const StepParams params{1, 0, 0, 0.01f};
  std::vector<double> seconds;
  for (int step = 0; step < o.warmup + o.steps; ++step) {
    const auto begin = std::chrono::steady_clock::now();
    executor.run_micro_step(params);
    executor.run_update(params);
    backend->synchronize();
    if (step >= o.warmup) {
      seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
  }
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  const double median = sorted[sorted.size() / 2];
  const Plan& plan = executor.plan();
  nlohmann::json result = {{"implementation", "residuum"},
                           {"device", backend->describe()},
                           {"model", o.model},
                           {"batch", o.batch},
                           {"precision", o.precision},
                           {"seconds", seconds},
                           {"median_seconds", median},
                           {"images_per_second", static_cast<double>(o.batch) / median},
                           {"launches", plan.launches.size()},
                           {"peak_bytes", plan.peak_bytes()},
                           {"loss", executor.read<float>("loss")[0]}};
  if (o.per_launch) result["per_launch"] = time_launches(executor, *backend, params, std::max(3, o.steps));
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  try {
    std::cout << measure(options).dump(2) << "\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "residuum_bench_step: error: " << error.what() << "\n";
    return 1;
  }
}
