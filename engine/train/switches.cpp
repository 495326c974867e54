#include "engine/train/switches.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "engine/core/check.h"

namespace residuum {
namespace {

struct Switch {
  std::string name, help;
};

constexpr const char* kGroup = "group";
constexpr const char* kReuse = "memory_reuse";
constexpr const char* kSecondStream = "second_stream";
constexpr const char* kDependentLaunch = "dependent_launch";

const std::vector<Switch>& choices() {
  static const std::vector<Switch> all = {
      {kGroup, "run nodes together in one launch"},
      {kReuse, "let tensors share memory that do not live at the same time"},
      {kSecondStream, "weight gradients beside data gradients (CUDA)"},
      {kDependentLaunch, "kernels start while the one before ends (CUDA, from sm_90 on)"},
  };
  return all;
}

std::vector<Switch> all_passes() {
  const TrainingPassOptions all{.update = {.ranks = 2},
                                .recompute = true,
                                .gram_batch_norm = true,
                                .relu_masks = true,
                                .weight_copies = true,
                                .absorbs = [](const Graph&, NodeId, size_t) { return false; },
                                .filter_layers = [](const Graph&, NodeId) { return 1; },
                                .sync_batch_norm = true};
  std::vector<Switch> list;
  for (const Pass& pass : training_passes(all)) list.push_back({pass.name, pass.help});
  return list;
}

/// Of the CUDA backend, if this build has it; the CPU's launches are kernels in a row.
std::vector<Switch> all_fusions() {
  std::vector<Switch> list;
  try {
    for (FusionKind& kind : make_planning_backend("cuda", {})->fusions())
      list.push_back({kind.name, kind.help});
  } catch (const Error&) {  // this build has no CUDA
  }
  return list;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> names_of(const std::vector<Switch>& switches) {
  std::vector<std::string> names;
  for (const Switch& one : switches) names.push_back(one.name);
  return names;
}

std::string lines_of(const std::vector<Switch>& switches) {
  std::string text;
  for (const Switch& one : switches) text += fmt::format("  {:<20} {}\n", one.name, one.help);
  return text;
}

}  // namespace

void check_switches(const std::vector<std::string>& off, ErrorKind kind) {
  if (off.empty()) return;
  const auto passes = names_of(all_passes()), fusions = names_of(all_fusions()), rest = names_of(choices());
  const std::string of_fusions = fusions.empty()
                                     ? "no kinds of fusions, as this build has no CUDA"
                                     : fmt::format("the kinds of fusions {}", fmt::join(fusions, ", "));
  for (const std::string& name : off) {
    check(contains(passes, name) || contains(fusions, name) || contains(rest, name), kind,
          "there is no '{}' to switch off; there are the passes {}; {}; and {}", name,
          fmt::join(passes, ", "), of_fusions, fmt::join(rest, ", "));
  }
}

PlanOptions plan_options(const std::vector<std::string>& off, PlanOptions plan) {
  plan.group = plan.group && !contains(off, kGroup);
  plan.reuse = plan.reuse && !contains(off, kReuse);
  plan.second_stream = plan.second_stream && !contains(off, kSecondStream);
  return plan;
}

BackendOptions backend_options(const std::vector<std::string>& off, BackendOptions backend) {
  backend.fusions_off.insert(off.begin(), off.end());
  backend.dependent_launch = backend.dependent_launch && !contains(off, kDependentLaunch);
  return backend;
}

void check_needed_passes(const std::vector<Pass>& passes, const std::vector<std::string>& off,
                         std::string_view option, ErrorKind kind) {
  for (const Pass& pass : passes) {
    check(!pass.needed || !contains(off, pass.name), kind,
          "{} has '{}', which this training cannot do without", option, pass.name);
  }
}

Graph run_passes_without(const std::vector<std::string>& off, Graph graph, const std::vector<Pass>& passes) {
  std::set<std::string> passes_off;
  for (const Pass& pass : passes) {
    if (contains(off, pass.name)) passes_off.insert(pass.name);
  }
  return run_passes(std::move(graph), passes, passes_off);
}

std::vector<std::string> deciding_switches(std::vector<std::string> off) {
  std::erase_if(off, [](const std::string& name) {
    return name == kReuse || name == kSecondStream || name == kDependentLaunch;
  });
  std::sort(off.begin(), off.end());
  return off;
}

std::string describe_switches() {
  const std::vector<Switch> fusions = all_fusions();
  std::string text = "Passes of a training step, in order:\n" + lines_of(all_passes());
  if (!fusions.empty()) text += "Kinds of fusions on CUDA:\n" + lines_of(fusions);
  return text + "Choices of the plan:\n" + lines_of(choices());
}

}  // namespace residuum
