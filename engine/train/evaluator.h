// Exact evaluation of a model on a data set: integer counts, padded rows never counted.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/comm/communicator.h"
#include "engine/data/loader.h"
#include "engine/exec/executor.h"
#include "engine/train/model_builder.h"
#include "engine/train/recipe.h"

namespace residuum {

struct Evaluation {
  int64_t samples = 0, top1 = 0, top5 = 0;
  double loss = 0;  ///< mean over the samples

  double top1_accuracy() const {
    return samples == 0 ? 0 : static_cast<double>(top1) / static_cast<double>(samples);
  }
  double top5_accuracy() const {
    return samples == 0 ? 0 : static_cast<double>(top5) / static_cast<double>(samples);
  }
};

class Evaluator {
 public:
  /// `state` must hold the model's parameters or gets fresh ones. With `averaged` the weights are "ema.NAME"
  /// where the state has them. With a communicator every rank evaluates its part of the batches.
  Evaluator(const ModelBuilder& build, const Dataset& dataset, const Recipe& recipe, Backend& backend,
            State& state, bool averaged = false, Communicator* communicator = nullptr);

  /// Called after each batch: the batch and its logits f32 [batch, classes] (rows past batch.valid are
  /// padding when the batch is the last one; masked rows have label -1).
  using BatchCallback = std::function<void(const Batch&, const std::vector<float>& logits)>;

  /// The whole data set once; with other ranks they must run, too, and all get the same bits as one rank
  /// alone. `on_batch` sees this rank's batches and may be empty.
  Evaluation run(const BatchCallback& on_batch = {});
  /// The same, but asks `stop` before each batch and gives nothing once that says yes. It is asked as often
  /// on every rank, and must answer the same on all.
  std::optional<Evaluation> run_until(const std::function<bool()>& stop);
  int64_t batches() const { return loader_.batches(); }
  int64_t classes() const { return classes_; }
  size_t arena_bytes() const { return executor_.plan().memory.arena_bytes; }

 private:
  std::optional<Evaluation> run(const std::function<bool()>& stop, const BatchCallback& on_batch);
  void check_unreadable() const;

  Communicator* communicator_;
  int64_t bad_sample_limit_;
  Loader loader_;
  int64_t rounds_;  ///< in each of which every rank has one batch or, in the last one, none
  int64_t classes_;
  Executor executor_;
};

}  // namespace residuum
