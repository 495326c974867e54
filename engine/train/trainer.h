// Training: recipe, data, model and backend in, checkpoints and reports out. Everything that decides the run
// is in the recipe; everything that changes during it is in the saved state, so a resumed run continues bit
// for bit.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/comm/communicator.h"
#include "engine/comm/exchange.h"
#include "engine/data/dataset.h"
#include "engine/exec/plan.h"
#include "engine/train/evaluator.h"
#include "engine/train/model_builder.h"
#include "engine/train/recipe.h"
#include "engine/train/step_average.h"

namespace residuum {

struct StepReport {
  int64_t step = 0, total_steps = 0;    ///< steps done, of how many
  int64_t epoch = 0, total_epochs = 0;  ///< epoch this step belongs to, from 0
  double loss = 0;                      ///< mean of the batch
  double top1_accuracy = 0;             ///< of the batch, in [0, 1]
  double learning_rate = 0, gradient_norm = 0;
  double seconds = 0, data_seconds = 0;  ///< of this step; waiting for data
  double communication_seconds = 0;      ///< waiting for other ranks' gradients, on this one
  int64_t images = 0;                    ///< of this step
  bool skipped = false;                  ///< not finite: the step changed nothing
  bool logged = false;                   ///< a multiple of train.log_every, or the last one
  StepAverage average;                   ///< since the last logged step, also of a process before this one
};

struct EvaluationReport {
  int64_t step = 0, epoch = 0;
  Evaluation test;
  bool averaged = false;  ///< of the EMA weights
  bool best =
      false;  ///< best top-1 so far (of the weights that decide: the averaged ones when there are any)
};

/// What a run is, known before its first step.
struct RunInfo {
  const Recipe& recipe;
  const Plan& plan;
  size_t evaluation_bytes = 0;  ///< arena of the evaluator, beside the plan's
  std::string device;           ///< Backend::describe()
  std::string communication;    ///< this and the other ranks; empty: alone
  int64_t train_samples = 0, test_samples = 0, classes = 0;
  int64_t steps_per_epoch = 0, total_steps = 0;
  int64_t resumed_step = -1;    ///< -1: a new run
  bool evaluation_due = false;  ///< first of all the evaluation after that step, which was broken off
  std::filesystem::path out;
};

/// Hears what happens; every method may be left as it is.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void on_start(const RunInfo&) {}
  virtual void on_step(const StepReport&) {}
  virtual void on_evaluation(const EvaluationReport&) {}
  /// Before the training state of `step` is saved: logs make their lines durable.
  virtual void on_save(int64_t /*step*/) {}
};

struct TrainOptions {
  std::filesystem::path out;  ///< directory of the run; created
  bool resume = false;        ///< continue from the newest valid state in `out`, when there is one
  std::vector<TrainObserver*> observers;
  /// With other ranks: both, and the same on all. Only rank 0 touches `out`, and only its observers hear.
  Communicator* communicator = nullptr;
  Exchange* exchange = nullptr;
};

struct TrainResult {
  bool interrupted = false;  ///< a signal: state saved, run or its last evaluation not finished
  int64_t steps = 0;
  Evaluation last, best;     ///< on the test split; of the weights that decide
  double train_seconds = 0;  ///< in steps, without evaluation and saving
  int64_t train_images = 0;  ///< processed, on all ranks
};

/// Trains until the recipe's end or a signal: SIGTERM and SIGINT are caught while it runs, so a process
/// trains one net at a time. `out` gets checkpoints/ (store.h), recipe.toml (resolved) and lock. Throws
/// Error(kConfig) when a resumed run's recipe differs in a key that decides the numbers, Error(kNumeric) when
/// a loss or gradient is not finite and the policy is stop (step, samples and the first layer concerned are
/// written to OUT/non_finite.json), Error(kCommunication) when another rank ends, and whatever data,
/// checkpoint and backend throw.
TrainResult train(const Recipe& recipe, const ModelBuilder& build, const Dataset& train_data,
                  const Dataset& test_data, Backend& backend, const TrainOptions& options);

}  // namespace residuum
