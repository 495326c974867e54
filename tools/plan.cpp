// residuum plan: the launches of one step, their cost and the memory plan, without running anything.
#include "engine/exec/plan.h"

#include <fmt/ranges.h>

#include <array>
#include <memory>
#include <set>

#include "engine/backend/backend_passes.h"
#include "engine/graph/passes.h"
#include "engine/train/precision.h"
#include "engine/train/units.h"
#include "models/zoo.h"
#include "tools/device.h"
#include "tools/exit_codes.h"
#include "tools/model_arguments.h"
#include "tools/output.h"
#include "tools/verbs.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;

struct PlanArguments {
  ModelArguments model;
  std::string device = "auto";
  int threads = 0;
  std::string precision = "fp32";
  std::vector<std::string> passes_off;
  bool recompute = false, gram_batch_norm = false, inference = false, json = false;
};

/// Not passes over the graph but choices of the plan; switched off the same way.
constexpr const char* kGroup = "group";
constexpr const char* kReuse = "memory_reuse";

std::string_view phase_name(Phase phase) {
  constexpr std::array<std::string_view, 5> kNames = {"forward", "recompute", "backward", "accumulate",
                                                      "update"};
  return kNames.at(static_cast<size_t>(phase));
}

Plan plan_of(const PlanArguments& arguments, Backend& backend) {
  std::set<std::string> off(arguments.passes_off.begin(), arguments.passes_off.end());
  for (const FusionKind& kind : backend.fusions()) off.erase(kind.name);
  PlanOptions plan_options;
  plan_options.group = off.erase(kGroup) == 0;
  plan_options.reuse = off.erase(kReuse) == 0;
  ModelOptions options = model_options(arguments.model);
  options.mode = arguments.inference ? Mode::kEval : Mode::kTrain;
  options.activation = activation_type(precision_named(arguments.precision));
  TrainingPassOptions training = backend_passes(backend);
  training.recompute = arguments.recompute;
  training.gram_batch_norm = arguments.gram_batch_norm;
  const auto passes = arguments.inference ? std::vector<Pass>{} : training_passes(training);
  return make_plan(run_passes(build_model(arguments.model.name, options), passes, off), backend,
                   plan_options);
}

struct Totals {
  Cost cost;
  double mb_per_image = 0, gflop_per_image = 0;
};

Totals totals_of(const Plan& plan, int64_t batch) {
  const Cost cost = plan.cost();
  const auto images = static_cast<double>(batch);
  return {cost, static_cast<double>(cost.bytes_read + cost.bytes_written) / 1e6 / images,
          static_cast<double>(cost.flops) / 1e9 / images};
}

Json cost_json(const Cost& cost) {
  return {{"bytes_read", cost.bytes_read}, {"bytes_written", cost.bytes_written}, {"flops", cost.flops}};
}

Json node_json(const Graph& graph, const Node& node, size_t launch) {
  Json json = {{"name", node.name},
               {"operation", op_name(node.op)},
               {"phase", phase_name(node.phase)},
               {"launch", launch}};
  json.update(cost_json(node_cost(graph, node)));
  return json;
}

std::string to_json(const Plan& plan, const PlanArguments& arguments) {
  const Totals totals = totals_of(plan, arguments.model.batch);
  Json json = {{"model", arguments.model.name},
               {"batch", arguments.model.batch},
               {"precision", arguments.precision},
               {"launches", plan.launches.size()},
               {"mb_per_image", totals.mb_per_image},
               {"gflop_per_image", totals.gflop_per_image},
               {"peak_bytes", plan.peak_bytes()},
               {"arena_bytes", plan.memory.arena_bytes},
               {"persistent_bytes", plan.persistent_bytes},
               {"unshared_bytes", plan.memory.unshared_bytes}};
  json.update(cost_json(totals.cost));
  json["nodes"] = Json::array();
  json["groups"] = Json::array();
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    for (const NodeId id : plan.groups[g].nodes) {
      json["nodes"].push_back(node_json(plan.graph, plan.graph.node(id), g));
    }
    Json group = cost_json(group_cost(plan.graph, plan.groups[g]));
    group["nodes"] = plan.groups[g].nodes.size();
    group["scratch_bytes"] = plan.launches[g]->scratch_bytes();
    json["groups"].push_back(std::move(group));
  }
  return json.dump(2) + "\n";
}

std::string launch_line(const Plan& plan, size_t g) {
  const Group& group = plan.groups[g];
  const Cost cost = group_cost(plan.graph, group);
  std::vector<std::string> nodes;
  for (const NodeId id : group.nodes) {
    const Node& node = plan.graph.node(id);
    nodes.push_back(fmt::format("{} {}", node.name, op_name(node.op)));
  }
  return fmt::format("{:>6}  {:<10}  {:>11}  {:>11}  {:>11.3f}  {}\n", g,
                     phase_name(plan.graph.node(group.nodes.front()).phase), bytes_text(cost.bytes_read),
                     bytes_text(cost.bytes_written), static_cast<double>(cost.flops) / 1e6,
                     fmt::join(nodes, ", "));
}

std::string to_text(const Plan& plan, const PlanArguments& arguments) {
  std::string text = fmt::format("{:>6}  {:<10}  {:>11}  {:>11}  {:>11}  {}\n", "launch", "phase", "read",
                                 "written", "MFLOP", "nodes");
  for (size_t g = 0; g < plan.groups.size(); ++g) text += launch_line(plan, g);
  const Totals totals = totals_of(plan, arguments.model.batch);
  const auto bytes = [](size_t count) { return bytes_text(static_cast<int64_t>(count)); };
  text +=
      fmt::format("\n{}, batch {}, {}: {} launches, {} nodes\n", arguments.model.name, arguments.model.batch,
                  arguments.precision, plan.launches.size(), plan.graph.nodes.size());
  text += fmt::format("{:.2f} MB and {:.3f} GFLOP per image\n", totals.mb_per_image, totals.gflop_per_image);
  text += fmt::format("peak {} = arena {} + weights and optimizer {}; the arena without reuse {}\n",
                      bytes(plan.peak_bytes()), bytes(plan.memory.arena_bytes), bytes(plan.persistent_bytes),
                      bytes(plan.memory.unshared_bytes));
  return text;
}

int show_plan(const PlanArguments& arguments) {
  const std::unique_ptr<Backend> backend = make_planning_backend(
      arguments.device, {.threads = arguments.threads,
                         .fusions_off = {arguments.passes_off.begin(), arguments.passes_off.end()}});
  const Plan plan = plan_of(arguments, *backend);
  print_result(arguments.json ? to_json(plan, arguments) : to_text(plan, arguments));
  return kExitOk;
}

std::string describe_passes() {
  const TrainingPassOptions all{.recompute = true,
                                .gram_batch_norm = true,
                                .relu_masks = true,
                                .weight_copies = true,
                                .absorbs = [](const Graph&, NodeId, size_t) { return false; }};
  std::string text = "Passes of a training step, in order:\n";
  for (const Pass& pass : training_passes(all)) text += fmt::format("  {:<15} {}\n", pass.name, pass.help);
  text += fmt::format("  {:<15} run nodes together in one launch\n", kGroup);
  text += fmt::format("  {:<15} let tensors share memory that do not live at the same time\n", kReuse);
  return text;
}

}  // namespace

Verb plan_verb(CLI::App& program) {
  CLI::App* command = program.add_subcommand("plan", "Launches, cost and memory of a step; runs nothing");
  const auto arguments = std::make_shared<PlanArguments>();
  arguments->model.batch = 32;
  add_model_arguments(*command, arguments->model);
  command->add_option("--precision", arguments->precision, "Of activations: fp32, tf32, bf16 or fp16")
      ->check(CLI::IsMember(std::vector<std::string>(kPrecisionNames.begin(), kPrecisionNames.end())))
      ->capture_default_str();
  command->add_flag("--recompute", arguments->recompute, "Keep block outputs only, compute the rest again");
  command->add_flag("--gram-batch-norm", arguments->gram_batch_norm,
                    "Batch norms of wide 1x1 convolutions from the Gram matrix of their input");
  command->add_flag("--inference", arguments->inference,
                    "The forward pass of evaluation, not a training step");
  command->add_option("--disable-pass", arguments->passes_off, "Leave a pass out; may be repeated")
      ->type_name("PASS")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--device", arguments->device, "auto (the best one present), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  add_threads_option(*command, arguments->threads);
  command->add_flag("--json", arguments->json, "For programs");
  command->footer(
      "Examples:\n"
      "  residuum plan resnet50 --batch 16\n"
      "  residuum plan cifar_resnet1202 --batch 32 --recompute --json\n"
      "  residuum plan resnet50 --batch 256 --precision bf16 --device cuda    (needs no GPU)\n"
      "  residuum plan resnet18 --disable-pass rematerialize\n\n" +
      describe_passes());
  return {command, [arguments] { return show_plan(*arguments); }};
}

}  // namespace residuum
