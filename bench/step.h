// Whole training steps: forward, backward and update of a model on one device, with made-up images or those
// of a data set, as the trainer runs them.
#pragma once

#include <memory>
#include <vector>

#include "bench/ceilings.h"
#include "engine/data/loader.h"
#include "engine/exec/executor.h"
#include "engine/train/recipe.h"

namespace residuum::bench {

/// Seconds of each step of a round, and what follows.
struct StepRound {
  std::vector<double> seconds;
  double loss = 0;  ///< of the last step

  double images_per_second(int64_t batch) const;  ///< of the median step
};

class StepBench {
 public:
  /// The recipe says model, batch, precision, learning rate and passes; a step is one micro-step of the whole
  /// batch, augmented on the host. `dataset` null: images and labels are made up once, as published_request
  /// has them. Both must outlive this. Throws as building and planning the model do.
  StepBench(Backend& backend, const Recipe& recipe, const Dataset* dataset);

  /// Runs `steps` steps without looking at them, one at least.
  void warm_up(int steps);
  /// One step after the other, a mark behind each; with a data set, waiting for images counts.
  StepRound measure(int steps);

  const Plan& plan() const { return executor_->plan(); }
  /// Seconds that the least time of each launch, by the ceilings, adds up to.
  double roofline_seconds(const Ceilings& ceilings) const;
  /// {"forward", "backward", "update"}: seconds of their launches replayed without the others.
  nlohmann::ordered_json time_phases(const Sampling& sampling);
  /// A row for each launch, the slowest first: its time when replayed many times over, what it does, its
  /// nodes. The state is meaningless afterwards.
  nlohmann::ordered_json time_launches(const Ceilings& ceilings, const Sampling& sampling);
  /// Launches, MB and GFLOP an image, bytes planned.
  nlohmann::ordered_json plan_json() const;

 private:
  void write_made_up_batch(int64_t classes);
  void next_batch();
  void run_step();

  Backend& backend_;
  int64_t batch_;
  std::unique_ptr<State> state_;
  std::unique_ptr<Loader> loader_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Timer> timer_;
  Batch images_;
  StepParams params_;
  uint64_t epoch_ = 0;
};

}  // namespace residuum::bench
