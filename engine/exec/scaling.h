// A data-parallel training step on many GPUs, computed and not run: the launches of one GPU one after
// another, their times given, and beside them the all-reduces of its plan, on a queue of their own, as the
// executor runs them. Invariant: with all-reduces that take no time, the step takes the sum of its launches.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "engine/exec/plan.h"

namespace residuum {

/// A chip by its ceilings.
struct ChipModel {
  double bytes_per_second = 0;  ///< read and written together
  double flops_per_second = 0;
  double launch_seconds = 0;  ///< of a launch, beside its work
  double reached = 1;         ///< part of both ceilings
};

/// launches * launch_seconds + max(bytes / bytes_per_second, flops / flops_per_second) / reached
double roofline_seconds(const ChipModel& chip, const Cost& cost);

/// A launch of a step, or an all-reduce.
struct StepPart {
  double seconds = 0;        ///< of a launch
  size_t reduced_bytes = 0;  ///< of an all-reduce; 0: a launch
  bool waits = false;        ///< for all all-reduces begun so far, whose sums it reads
  Phase phase = Phase::kForward;
};

/// The parts of a plan with all-reduces (TrainingPassOptions::update.ranks above 1), one a group.
/// `seconds(group)` is asked for each that is a launch.
std::vector<StepPart> step_parts(const Plan& plan, const std::function<double(size_t group)>& seconds);

struct SimulatedStep {
  double seconds = 0;
  double compute_seconds = 0;        ///< the launches alone: the step of one GPU
  double communication_seconds = 0;  ///< the all-reduces alone
  /// What communication adds to the step: waits, and launches slowed down.
  double exposed_seconds() const { return seconds - compute_seconds; }
  double efficiency() const { return seconds > 0 ? compute_seconds / seconds : 1; }
};

/// An all-reduce starts when every launch before it and every all-reduce before it is done. While one is
/// under way, launches run at 1 - `slowdown` of their speed (the chip's processors and memory that
/// communication takes), 0 to below 1. The step is over when everything is.
SimulatedStep simulate_step(std::span<const StepPart> parts,
                            const std::function<double(size_t bytes)>& all_reduce_seconds,
                            double slowdown = 0);

}  // namespace residuum
