// One optimizer step on its way through the device, from its batch to what it found. The device may be one
// step ahead of the host: weights change in launch_update only, so everything there was to see of the step
// before can be looked at until then.
#pragma once

#include <optional>
#include <vector>

#include "engine/data/loader.h"
#include "engine/exec/executor.h"
#include "engine/train/non_finite.h"

namespace residuum {

/// What a step found.
struct StepOutcome {
  std::vector<double> losses;       ///< means of the micro-steps
  int64_t valid = 0, right = 0;     ///< rows with a label; those right in the top 1
  std::vector<int64_t> unreadable;  ///< samples that were masked
  float gradient_norm = 0;
  bool finite = true;  ///< else the update changed nothing

  /// Mean of the batch.
  double loss() const;
};

class StepInFlight {
 public:
  Batch batch;
  StepParams params;
  int64_t epoch = 0;
  double data_seconds = 0;  ///< waited for the batch

  /// Forward and backward of this rank's part of the batch in `micro_steps`, which have the numbers from
  /// `first_number` on.
  void launch_gradients(Executor& executor, int64_t micro_steps, uint32_t first_number = 0);
  void launch_update(Executor& executor);
  /// Waits for the step.
  StepOutcome outcome();

  /// The graph's inputs for micro-batch `micro` of `count` equal ones.
  StepInputs micro_inputs(int64_t micro, int64_t count) const;

 private:
  std::vector<Fetched<float>> losses_;
  std::vector<Fetched<int32_t>> counts_;
  std::optional<Fetched<float>> norm_;
};

}  // namespace residuum
