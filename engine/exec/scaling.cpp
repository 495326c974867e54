#include "engine/exec/scaling.h"

#include <algorithm>

#include "engine/core/check.h"

namespace residuum {
namespace {

/// Bytes that an all-reduce sums.
size_t summed_bytes(const Graph& graph, const Group& group) {
  size_t bytes = 0;
  for (const NodeId id : group.nodes) {
    for (const ValueId input : graph.node(id).inputs) bytes += graph.desc(input).bytes();
  }
  return bytes;
}

/// When work that takes `seconds` alone is over, begun at `now` while communication goes on until
/// `busy_until`.
double end_of(double now, double seconds, double busy_until, double slowdown) {
  const double beside =
      std::max(busy_until - now, 0.0) * (1 - slowdown);  // of the work, until communication ends
  if (seconds <= beside) return now + seconds / (1 - slowdown);
  return std::max(now, busy_until) + (seconds - beside);
}

}  // namespace

double roofline_seconds(const ChipModel& chip, const Cost& cost) {
  const double bytes = static_cast<double>(cost.bytes()) / chip.bytes_per_second;
  const double flops = static_cast<double>(cost.flops) / chip.flops_per_second;
  return static_cast<double>(cost.launches) * chip.launch_seconds + std::max(bytes, flops) / chip.reached;
}

std::vector<StepPart> step_parts(const Plan& plan, const std::function<double(size_t group)>& seconds) {
  std::vector<StepPart> parts;
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    const Group& group = plan.groups[g];
    StepPart& part = parts.emplace_back();
    part.phase = plan.graph.node(group.nodes.front()).phase;
    if (is_all_reduce(plan.graph, group)) {
      part.reduced_bytes = summed_bytes(plan.graph, group);
    } else {
      part.seconds = seconds(g);
      part.waits = reads_sums(plan.graph, group);
    }
  }
  return parts;
}

SimulatedStep simulate_step(std::span<const StepPart> parts,
                            const std::function<double(size_t bytes)>& all_reduce_seconds, double slowdown) {
  check(slowdown >= 0 && slowdown < 1, ErrorKind::kConfig, "a slowdown of {}, but it must be 0 to below 1",
        slowdown);
  SimulatedStep step;
  double now = 0, busy_until = 0;  // of the launches, of the all-reduces
  for (const StepPart& part : parts) {
    if (part.reduced_bytes > 0) {
      const double seconds = all_reduce_seconds(part.reduced_bytes);
      busy_until = std::max(now, busy_until) + seconds;
      step.communication_seconds += seconds;
      continue;
    }
    if (part.waits) now = std::max(now, busy_until);
    now = end_of(now, part.seconds, busy_until, slowdown);
    step.compute_seconds += part.seconds;
  }
  step.seconds = std::max(now, busy_until);
  return step;
}

}  // namespace residuum
