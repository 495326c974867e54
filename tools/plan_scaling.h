// `residuum plan --gpus ... --network ...`: a data-parallel step on many GPUs, from the plan of one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/exec/plan.h"
#include "engine/train/precision.h"
#include "tools/command.h"

namespace residuum {

struct ScalingArguments {
  std::string gpus, network, all_reduce_times, chip, launch_times, page;
  size_t bucket_bytes = 0;  ///< 0: chosen
  double slowdown = 0;

  bool wanted() const { return !gpus.empty(); }
};

void add_scaling_options(const Command& command, ScalingArguments& arguments);

/// What the numbers are about.
struct ScalingSubject {
  std::string model, device;  ///< device: "cpu" or "cuda"
  int64_t batch = 0;          ///< a GPU
  Precision precision = Precision::kF32;
};

/// Simulates the step of `plan`, which has all-reduces, and returns what is printed; writes arguments.page.
/// Throws Error(kConfig) for values that cannot be, Error(kData) for a file of launch times that does not fit
/// the plan.
std::string show_scaling(const Plan& plan, const ScalingSubject& subject, const ScalingArguments& arguments,
                         bool json);

/// Chips and networks, for the help text.
std::string describe_scaling();

}  // namespace residuum
