// residuum plan: the launches of one step, their cost and the memory plan, without running anything.
#include "engine/exec/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <memory>

#include "engine/backend/backend_passes.h"
#include "engine/core/json.h"
#include "engine/graph/passes.h"
#include "engine/train/memory_fit.h"
#include "engine/train/precision.h"
#include "engine/train/switches.h"
#include "engine/train/units.h"
#include "models/zoo.h"
#include "tools/device.h"
#include "tools/exit_codes.h"
#include "tools/model_arguments.h"
#include "tools/output.h"
#include "tools/plan_scaling.h"
#include "tools/verbs.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;

struct PlanArguments {
  ModelArguments model;
  std::string device = "auto";
  int threads = 0;
  std::string precision;  ///< empty: what the device is made for
  std::vector<std::string> passes_off;
  uint64_t memory = 0;  ///< bytes to fill with the largest batch; 0: not asked for
  bool recompute = false, gram_batch_norm = false, inference = false, json = false;
  ScalingArguments scaling;
};

std::string_view phase_name(Phase phase) {
  constexpr std::array<std::string_view, 5> kNames = {"forward", "recompute", "backward", "accumulate",
                                                      "update"};
  return kNames.at(static_cast<size_t>(phase));
}

Plan plan_of(const PlanArguments& arguments, Backend& backend) {
  ModelOptions options = model_options(arguments.model);
  options.mode = arguments.inference ? Mode::kEval : Mode::kTrain;
  options.activation = activation_type(precision_named(arguments.precision));
  TrainingPassOptions training = backend_passes(backend);
  training.recompute = arguments.recompute;
  training.gram_batch_norm = arguments.gram_batch_norm;
  if (arguments.scaling.wanted()) {
    training.update.ranks = 2;  // any number above one: the launches and buckets are the same
    training.bucket_bytes = arguments.scaling.bucket_bytes;
  }
  const auto passes = arguments.inference ? std::vector<Pass>{} : training_passes(training);
  check_needed_passes(passes, arguments.passes_off, "--disable-pass", ErrorKind::kUsage);
  return make_plan(
      run_passes_without(arguments.passes_off, build_model(arguments.model.name, options), passes), backend,
      plan_options(arguments.passes_off));
}

/// The largest batch asked about: beyond it the pixels of a layer no longer fit the kernels' 32 bits.
constexpr int64_t kMostImages = 1 << 16;

/// The largest batch whose plan fits into arguments.memory, 0 when not even one image does.
int64_t largest_batch(PlanArguments arguments, Backend& backend) {
  const auto bytes = [&](int64_t batch) {
    arguments.model.batch = batch;
    return plan_of(arguments, backend).peak_bytes();
  };
  int64_t limit = 1;  // small plans first: those far too large need not be tried
  while (limit < kMostImages && bytes(limit) <= arguments.memory) limit *= 2;
  return largest_fitting(limit, arguments.memory, bytes);
}

struct Totals {
  Cost cost;
  double mb_per_image = 0, gflop_per_image = 0;
};

Totals totals_of(const Plan& plan, int64_t batch) {
  const Cost cost = plan.cost();
  const auto images = static_cast<double>(batch);
  return {cost, static_cast<double>(cost.bytes()) / 1e6 / images,
          static_cast<double>(cost.flops) / 1e9 / images};
}

Json cost_json(const Cost& cost) {
  return {{"bytes_read", cost.bytes_read}, {"bytes_written", cost.bytes_written}, {"flops", cost.flops}};
}

Json group_json(const Plan& plan, size_t g) {
  const Launch& launch = *plan.launches[g];
  Json json = cost_json(launch.cost());
  json["launches"] = launch.cost().launches;
  json["stream"] = plan.places[g].stream;
  json["nodes"] = plan.groups[g].nodes.size();
  json["scratch_bytes"] = launch.scratch_bytes();
  return json;
}

Json node_json(const Graph& graph, const Node& node, size_t group) {
  Json json = {{"name", node.name},
               {"operation", op_name(node.op)},
               {"phase", phase_name(node.phase)},
               {"group", group}};
  json.update(cost_json(node_cost(graph, node)));
  return json;
}

/// `largest`: the answer to arguments.memory.
std::string to_json(const Plan& plan, const PlanArguments& arguments, int64_t largest) {
  const Totals totals = totals_of(plan, arguments.model.batch);
  Json json = {{"model", arguments.model.name},
               {"batch", arguments.model.batch},
               {"precision", arguments.precision},
               {"launches", totals.cost.launches},
               {"mb_per_image", totals.mb_per_image},
               {"gflop_per_image", totals.gflop_per_image},
               {"peak_bytes", plan.peak_bytes()},
               {"arena_bytes", plan.memory.arena_bytes},
               {"persistent_bytes", plan.persistent_bytes},
               {"unshared_bytes", plan.memory.unshared_bytes}};
  json.update(cost_json(totals.cost));
  if (arguments.memory > 0) {
    json["memory_bytes"] = arguments.memory;
    json["largest_batch"] = largest;
  }
  json["nodes"] = Json::array();
  json["groups"] = Json::array();
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    for (const NodeId id : plan.groups[g].nodes) {
      json["nodes"].push_back(node_json(plan.graph, plan.graph.node(id), g));
    }
    json["groups"].push_back(group_json(plan, g));
  }
  return json_text(json, 2) + "\n";
}

std::string group_line(const Plan& plan, size_t g) {
  const Group& group = plan.groups[g];
  const Cost cost = plan.launches[g]->cost();
  std::vector<std::string> nodes;
  for (const NodeId id : group.nodes) {
    const Node& node = plan.graph.node(id);
    nodes.push_back(fmt::format("{} {}", node.name, op_name(node.op)));
  }
  return fmt::format("{:>6}  {:<10}  {:>8}  {:>11}  {:>11}  {:>11.3f}  {}\n", g,
                     phase_name(plan.graph.node(group.nodes.front()).phase), cost.launches,
                     bytes_text(cost.bytes_read), bytes_text(cost.bytes_written),
                     static_cast<double>(cost.flops) / 1e6, fmt::join(nodes, ", "));
}

std::string to_text(const Plan& plan, const PlanArguments& arguments, int64_t largest) {
  std::string text = fmt::format("{:>6}  {:<10}  {:>8}  {:>11}  {:>11}  {:>11}  {}\n", "group", "phase",
                                 "launches", "read", "written", "MFLOP", "nodes");
  for (size_t g = 0; g < plan.groups.size(); ++g) text += group_line(plan, g);
  const Totals totals = totals_of(plan, arguments.model.batch);
  const auto bytes = [](size_t count) { return bytes_text(static_cast<int64_t>(count)); };
  text +=
      fmt::format("\n{}, batch {}, {}: {} launches, {} nodes\n", arguments.model.name, arguments.model.batch,
                  arguments.precision, totals.cost.launches, plan.graph.nodes.size());
  text += fmt::format("{:.2f} MB and {:.3f} GFLOP per image\n", totals.mb_per_image, totals.gflop_per_image);
  text += fmt::format("peak {} = arena {} + weights and optimizer {}; the arena without reuse {}\n",
                      bytes(plan.peak_bytes()), bytes(plan.memory.arena_bytes), bytes(plan.persistent_bytes),
                      bytes(plan.memory.unshared_bytes));
  if (arguments.memory > 0)
    text += fmt::format("largest batch in {}: {}\n", bytes(arguments.memory), largest);
  return text;
}

int show_plan(PlanArguments arguments) {
  check_switches(arguments.passes_off, ErrorKind::kUsage);
  const std::unique_ptr<Backend> backend = make_planning_backend(
      arguments.device, backend_options(arguments.passes_off, {.threads = arguments.threads}));
  if (arguments.precision.empty()) arguments.precision = backend->name() == "cuda" ? "bf16" : "fp32";
  check(!arguments.scaling.wanted() || !arguments.inference, ErrorKind::kUsage,
        "--gpus is about training steps, not about --inference");
  check(!arguments.inference || (!arguments.recompute && !arguments.gram_batch_norm), ErrorKind::kUsage,
        "--recompute and --gram-batch-norm are about training steps, not about --inference");
  const Plan plan = plan_of(arguments, *backend);
  if (arguments.scaling.wanted()) {
    const ScalingSubject subject{arguments.model.name, backend->name(), arguments.model.batch,
                                 precision_named(arguments.precision)};
    print_result(show_scaling(plan, subject, arguments.scaling, arguments.json));
    return kExitOk;
  }
  const int64_t largest = arguments.memory == 0 ? 0 : largest_batch(arguments, *backend);
  print_result(arguments.json ? to_json(plan, arguments, largest) : to_text(plan, arguments, largest));
  return kExitOk;
}

}  // namespace

Verb plan_verb(const Command& program) {
  const Command command = program.add_command("plan", "Launches, cost and memory of a step; runs nothing");
  const auto arguments = std::make_shared<PlanArguments>();
  arguments->model.batch = 32;
  add_model_arguments(command, arguments->model);
  command
      .add_option("--precision", arguments->precision,
                  "Of activations: fp32, tf32, bf16 or fp16; bf16 on cuda and fp32 on cpu when not given")
      .one_of({kPrecisionNames.begin(), kPrecisionNames.end()});
  command.add_flag("--recompute", arguments->recompute, "Keep block outputs only, compute the rest again");
  command.add_flag("--gram-batch-norm", arguments->gram_batch_norm,
                   "Batch norms of wide 1x1 convolutions from the Gram matrix of their input");
  command.add_flag("--inference", arguments->inference,
                   "The forward pass of evaluation, not a training step");
  add_disable_pass_option(command, arguments->passes_off);
  command.add_option("--device", arguments->device, "auto (the best one present), cpu or cuda")
      .one_of({"auto", "cpu", "cuda"})
      .show_default();
  add_threads_option(command, arguments->threads);
  command.add_option("--memory", arguments->memory, "Tell the largest batch that fits: bytes, 80GB or 16GiB")
      .bytes()
      .positive()
      .type_name("BYTES");
  add_scaling_options(command, arguments->scaling);
  command.add_flag("--json", arguments->json, "For programs");
  command.footer(
      "Examples:\n"
      "  residuum plan resnet50 --batch 16\n"
      "  residuum plan cifar_resnet1202 --batch 32 --recompute --json\n"
      "  residuum plan resnet50 --batch 256 --device cuda    (needs no GPU)\n"
      "  residuum plan resnet50 --device cuda --memory 80GB\n"
      "  residuum plan resnet50 --batch 256 --device cuda --gpus 4096 --network nvlink4+ib400x8\n"
      "  residuum plan resnet18 --disable-pass rematerialize\n\n" +
      describe_switches() + "\n" + describe_scaling());
  return {command, [arguments] { return show_plan(*arguments); }};
}

}  // namespace residuum
