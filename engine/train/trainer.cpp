#include "engine/train/trainer.h"

#include <spdlog/spdlog.h>

#include <array>
#include <chrono>
#include <utility>

#include "engine/checkpoint/store.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/train/memory_fit.h"
#include "engine/train/non_finite.h"
#include "engine/train/resume.h"
#include "engine/train/schedule.h"
#include "engine/train/signals.h"
#include "engine/train/step_in_flight.h"
#include "engine/train/training_setup.h"
#include "engine/train/weights.h"

namespace residuum {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Trainer {
 public:
  Trainer(const Recipe& recipe, const ModelBuilder& build, const Dataset& train_data,
          const Dataset& test_data, Backend& backend, const TrainOptions& options)
      : recipe_(recipe),
        options_(options),
        backend_(backend),
        lock_(prepared(options.out)),
        store_(options.out / "checkpoints", static_cast<size_t>(recipe.checkpoint.keep)),
        state_(backend),
        loader_(checked(train_data, recipe), train_loader_options(recipe)),
        classes_(class_count(recipe, train_data)),
        forward_(training_graph(recipe, build, recipe.train.batch / recipe.train.accumulation,
                                loader_.image_shape(), classes_)),
        executor_(run_passes(forward_, passes_of(recipe, backend)), backend, state_,
                  {{}, static_cast<uint64_t>(recipe.train.seed), {}}),
        evaluator_(build, test_data, recipe, backend, state_, recipe.optimizer.ema_decay > 0),
        steps_per_epoch_(loader_.batches()) {
    check(steps_per_epoch_ > 0, ErrorKind::kConfig,
          "train.batch is {}, the training split has only {} samples", recipe.train.batch, train_data.size());
    total_steps_ = total_steps(recipe, steps_per_epoch_);
    start(train_data, test_data);
  }

  TrainResult run() {
    const StopSignals signals;
    while (progress_.step < total_steps_ && !result_.interrupted) run_epoch(signals);
    result_.steps = progress_.step;
    result_.last = progress_.last;
    result_.best = progress_.best;
    return result_;
  }

 private:
  static DirectoryLock prepared(const std::filesystem::path& out) {
    make_directories(out);
    return DirectoryLock(out);
  }

  static const Dataset& checked(const Dataset& train_data, const Recipe& recipe) {
    check(recipe.train.batch <= train_data.size(), ErrorKind::kConfig,
          "train.batch is {}, must be at most the {} samples of the training split", recipe.train.batch,
          train_data.size());
    return train_data;
  }

  void start(const Dataset& train_data, const Dataset& test_data) {
    int64_t resumed = -1;
    if (options_.resume) {
      if (std::optional<LoadedState> saved = store_.load_newest()) {
        check_resumable(saved->meta, recipe_);
        import_state(state_, saved->file);
        progress_ = progress_from_json(saved->meta);
        resumed = progress_.step;
      }
    } else {
      check(store_.steps().empty(), ErrorKind::kConfig,
            "'{}' already holds a run with saved states; resume it or choose another directory",
            options_.out.string());
      if (recipe_.optimizer.ema_decay > 0) start_averages();
    }
    write_file_atomically(options_.out / "recipe.toml", to_toml(recipe_));
    const RunInfo info{.recipe = recipe_,
                       .plan = executor_.plan(),
                       .evaluation_bytes = evaluator_.arena_bytes(),
                       .device = backend_.describe(),
                       .train_samples = train_data.size(),
                       .test_samples = test_data.size(),
                       .classes = classes_,
                       .steps_per_epoch = steps_per_epoch_,
                       .total_steps = total_steps_,
                       .resumed_step = resumed,
                       .out = options_.out};
    for (TrainObserver* observer : options_.observers) observer->on_start(info);
  }

  /// Averages start at the initial weights.
  void start_averages() {
    for (const State::Entry& entry : state_.entries()) {
      if (state_.contains("ema." + entry.name)) state_.copy(entry.name, "ema." + entry.name);
    }
  }

  void run_epoch(const StopSignals& signals) {
    const int64_t epoch = progress_.step / steps_per_epoch_;
    const int64_t end = std::min((epoch + 1) * steps_per_epoch_, total_steps_);
    loader_.start(static_cast<uint64_t>(epoch), progress_.step % steps_per_epoch_);
    while (progress_.step < end) {
      run_step(epoch);
      const bool saving_step = recipe_.checkpoint.every > 0 && progress_.step % recipe_.checkpoint.every == 0;
      result_.interrupted = signals.requested() && progress_.step < total_steps_;
      if (progress_.step == end || saving_step || result_.interrupted) finish_step();
      if (progress_.step == end) {
        finish_epoch(epoch);
      } else if (saving_step || result_.interrupted) {
        save(false);
      }
      if (result_.interrupted) return;
    }
  }

  /// While the device works on this step's gradients the host looks at the step before, whose update is the
  /// last that has run: what find_non_finite sees then are the weights of that step.
  void run_step(int64_t epoch) {
    if (in_flight_ == nullptr) lap_begin_ = Clock::now();
    StepInFlight& step = steps_[in_flight_ == &steps_[0] ? 1 : 0];
    const double waited_before = loader_.wait_seconds();
    check(loader_.next(step.batch), ErrorKind::kInternal, "epoch {} ended before step {}", epoch,
          progress_.step);
    step.data_seconds = loader_.wait_seconds() - waited_before;
    step.epoch = epoch;
    step.params = {static_cast<uint64_t>(recipe_.train.seed), static_cast<uint64_t>(progress_.step), 0,
                   static_cast<float>(learning_rate(recipe_, steps_per_epoch_, progress_.step))};
    step.launch_gradients(executor_, recipe_.train.accumulation);
    finish_step();
    step.launch_update(executor_);
    in_flight_ = &step;
    ++progress_.step;
  }

  /// Waits for the step in flight, if there is one, and reports it.
  void finish_step() {
    if (in_flight_ == nullptr) return;
    StepInFlight& step = *std::exchange(in_flight_, nullptr);
    const StepOutcome found = step.outcome();
    if (!found.finite) on_non_finite(step);
    StepReport report;
    report.step = static_cast<int64_t>(step.params.step) + 1;
    report.total_steps = total_steps_;
    report.epoch = step.epoch;
    report.total_epochs = (total_steps_ + steps_per_epoch_ - 1) / steps_per_epoch_;
    report.loss = found.loss;
    report.top1_accuracy =
        found.valid == 0 ? 0 : static_cast<double>(found.right) / static_cast<double>(found.valid);
    report.learning_rate = learning_rate(recipe_, steps_per_epoch_, static_cast<int64_t>(step.params.step));
    report.gradient_norm = found.gradient_norm * gradient_scale(update_options(recipe_));
    report.data_seconds = step.data_seconds;
    report.images = recipe_.train.batch;
    report.skipped = !found.finite;
    report.logged = report.step % recipe_.train.log_every == 0 || report.step == total_steps_;
    report.seconds = seconds_since(std::exchange(lap_begin_, Clock::now()));
    result_.train_seconds += report.seconds;
    result_.train_images += report.images;
    for (TrainObserver* observer : options_.observers) observer->on_step(report);
  }

  /// The step changed nothing (the graph's update saw to that); say where it went wrong, and stop if the
  /// policy says so.
  void on_non_finite(const StepInFlight& step) {
    const int64_t pieces = recipe_.train.accumulation;
    StepParams params = step.params;
    NonFinite found;
    for (int64_t micro = 0; micro < pieces && found.value.empty(); ++micro) {
      params.micro_step = static_cast<uint32_t>(micro);
      found = find_non_finite(forward_, backend_, state_, params, step.micro_inputs(micro, pieces),
                              update_options(recipe_).loss_scale);
    }
    const nlohmann::json dump = {{"step", params.step},          {"value", found.value},
                                 {"operation", found.operation}, {"phase", found.phase},
                                 {"samples", step.batch.ids},    {"learning_rate", params.learning_rate}};
    write_file_atomically(options_.out / "non_finite.json", dump.dump(2) + "\n");
    const std::string message = fmt::format(
        "step {}: loss or gradients are not finite; first in '{}' ({}, {}); sample numbers in {}",
        params.step, found.value, found.operation, found.phase, (options_.out / "non_finite.json").string());
    check(recipe_.train.nan_policy == NanPolicy::kSkip, ErrorKind::kNumeric,
          "{}; weights, statistics and checkpoints are those before the step (train.nan_policy = \"skip\" "
          "goes on)",
          message);
    spdlog::warn("{}; the step is skipped", message);
  }

  void finish_epoch(int64_t epoch) {
    const bool last = progress_.step == total_steps_;
    const bool due = last || (recipe_.train.eval_every > 0 && (epoch + 1) % recipe_.train.eval_every == 0);
    bool best = false;
    if (due) {
      progress_.last = evaluator_.run();
      best = progress_.best_step < 0 || progress_.last.top1 > progress_.best.top1;
      if (best) {
        progress_.best = progress_.last;
        progress_.best_step = progress_.step;
      }
      const EvaluationReport report{progress_.step, epoch, progress_.last, recipe_.optimizer.ema_decay > 0,
                                    best};
      for (TrainObserver* observer : options_.observers) observer->on_evaluation(report);
    }
    save(best);
  }

  /// A disk that refuses costs this checkpoint, not the run.
  void save(bool best) {
    for (TrainObserver* observer : options_.observers) observer->on_save(progress_.step);
    const std::string prefix = recipe_.optimizer.ema_decay > 0 ? "ema." : "";
    const TensorFileContent everything = export_state(state_);
    const TensorFileContent weights =
        export_weights(state_, prefix, progress_.step * recipe_.train.accumulation);
    try {
      store_.save({progress_.step, to_json(progress_, recipe_), everything.tensors}, weights.tensors, best,
                  {{"model", recipe_.model.name},
                   {"step", std::to_string(progress_.step)},
                   {"recipe", to_toml(deciding_part(recipe_))}});
    } catch (const Error& error) {
      // On the way out there is no later save to hope for.
      if (error.kind() != ErrorKind::kIo || result_.interrupted || progress_.step == total_steps_) throw;
      spdlog::warn("the state of step {} was not saved: {}", progress_.step, error.what());
    }
  }

  const Recipe& recipe_;
  const TrainOptions& options_;
  Backend& backend_;
  DirectoryLock lock_;
  CheckpointStore store_;
  State state_;
  Loader loader_;
  int64_t classes_;
  Graph forward_;
  Executor executor_;
  Evaluator evaluator_;
  int64_t steps_per_epoch_;
  int64_t total_steps_ = 0;
  Progress progress_;
  std::array<StepInFlight, 2> steps_;
  StepInFlight* in_flight_ = nullptr;  ///< the one of steps_ that is launched and not reported yet
  Clock::time_point lap_begin_;        ///< end of the last report, or begin of the first step after a pause
  TrainResult result_;
};

}  // namespace

TrainResult train(const Recipe& recipe, const ModelBuilder& build, const Dataset& train_data,
                  const Dataset& test_data, Backend& backend, const TrainOptions& options) {
  std::unique_ptr<Trainer> trainer;
  try {
    trainer = std::make_unique<Trainer>(recipe, build, train_data, test_data, backend, options);
  } catch (const OutOfMemory&) {
    fail(ErrorKind::kDevice, "{}", explain_out_of_memory(recipe, build, train_data, test_data, backend));
  }
  return trainer->run();
}

}  // namespace residuum
