#include "engine/train/trainer.h"

#include <spdlog/spdlog.h>

#include <chrono>

#include "engine/checkpoint/store.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/graph/image_windows.h"
#include "engine/graph/passes.h"
#include "engine/train/non_finite.h"
#include "engine/train/recipe_transform.h"
#include "engine/train/resume.h"
#include "engine/train/schedule.h"
#include "engine/train/signals.h"
#include "engine/train/weights.h"

namespace residuum {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

LoaderOptions loader_options(const Recipe& recipe) {
  LoaderOptions options;
  options.batch = recipe.train.batch;
  options.transform = train_transform(recipe.data);
  options.windows_only = recipe.data.augment_on == AugmentPlace::kDevice;
  options.seed = static_cast<uint64_t>(recipe.train.seed);
  options.threads = static_cast<int>(recipe.data.threads);
  options.prefetch = static_cast<int>(recipe.data.prefetch);
  options.bad_sample_limit = recipe.data.bad_sample_limit;
  return options;
}

UpdateOptions update_options(const Recipe& recipe) {
  const OptimizerRecipe& o = recipe.optimizer;
  UpdateOptions update;
  update.momentum = static_cast<float>(o.momentum);
  update.nesterov = o.nesterov;
  update.weight_decay = static_cast<float>(o.weight_decay);
  update.decay_norm_and_bias = o.decay_norm_and_bias;
  update.clip_norm = static_cast<float>(o.clip_norm);
  update.ema_decay = static_cast<float>(o.ema_decay);
  update.accumulation = static_cast<int>(recipe.train.accumulation);
  update.loss_scale = static_cast<float>(loss_scale(recipe.train.precision, recipe.train.loss_scale));
  return update;
}

TrainingPassOptions pass_options(const Recipe& recipe, const Backend& backend) {
  return {.update = update_options(recipe),
          .recompute = recipe.train.recompute,
          .relu_masks = backend.wants_weight_copies(),
          .weight_copies = backend.wants_weight_copies()};
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
        loader_(checked(train_data, recipe), loader_options(recipe)),
        classes_(recipe.model.classes > 0 ? recipe.model.classes
                                          : static_cast<int64_t>(train_data.classes().size())),
        forward_(training_graph(build)),
        executor_(run_passes(forward_, training_passes(pass_options(recipe, backend))), backend, state_,
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

  Graph training_graph(const ModelBuilder& build) const {
    Graph graph = build(
        {Mode::kTrain, recipe_.train.batch / recipe_.train.accumulation, loader_.image_shape(), classes_});
    if (recipe_.data.augment_on == AugmentPlace::kDevice) graph = add_image_windows(std::move(graph));
    return graph;
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
      if (progress_.step == end) {
        finish_epoch(epoch);
      } else if (saving_step || result_.interrupted) {
        save(false);
      }
      if (result_.interrupted) return;
    }
  }

  void run_step(int64_t epoch) {
    const Clock::time_point begin = Clock::now();
    const double waited_before = loader_.wait_seconds();
    check(loader_.next(batch_), ErrorKind::kInternal, "epoch {} ended before step {}", epoch, progress_.step);
    StepReport report;
    report.data_seconds = loader_.wait_seconds() - waited_before;
    report.learning_rate = learning_rate(recipe_, steps_per_epoch_, progress_.step);
    StepParams params{static_cast<uint64_t>(recipe_.train.seed), static_cast<uint64_t>(progress_.step), 0,
                      static_cast<float>(report.learning_rate)};
    int64_t right = 0, valid = 0;
    for (int64_t micro = 0; micro < recipe_.train.accumulation; ++micro) {
      params.micro_step = static_cast<uint32_t>(micro);
      write_micro_batch(micro);
      executor_.run_micro_step(params);
      report.loss += static_cast<double>(executor_.read<float>("loss")[0]) /
                     static_cast<double>(recipe_.train.accumulation);
      const std::vector<int32_t> counts = executor_.read<int32_t>("counts");
      valid += counts[0];
      right += counts[1];
    }
    executor_.run_update(params);
    const std::vector<float> norm = executor_.read<float>("norm");
    report.skipped = norm[1] == 0.0f;
    if (report.skipped) on_non_finite(params);
    ++progress_.step;
    report.step = progress_.step;
    report.total_steps = total_steps_;
    report.epoch = epoch;
    report.total_epochs = (total_steps_ + steps_per_epoch_ - 1) / steps_per_epoch_;
    report.top1_accuracy = valid == 0 ? 0 : static_cast<double>(right) / static_cast<double>(valid);
    report.gradient_norm = norm[0] * gradient_scale(update_options(recipe_));
    report.images = recipe_.train.batch;
    report.seconds = seconds_since(begin);
    report.logged = report.step % recipe_.train.log_every == 0 || report.step == total_steps_;
    result_.train_seconds += report.seconds;
    result_.train_images += report.images;
    for (TrainObserver* observer : options_.observers) observer->on_step(report);
  }

  StepInputs micro_inputs(int64_t micro) const {
    const auto part = [&](const auto& values) {
      const size_t size = values.size() / static_cast<size_t>(recipe_.train.accumulation);
      return std::as_bytes(std::span(values).subspan(static_cast<size_t>(micro) * size, size));
    };
    StepInputs inputs = {{"images", part(batch_.images)}, {"labels", part(batch_.labels)}};
    if (!batch_.windows.empty()) inputs["windows"] = part(batch_.windows);
    return inputs;
  }
  void write_micro_batch(int64_t micro) {
    for (const auto& [name, bytes] : micro_inputs(micro)) executor_.write(name, bytes);
  }

  /// The step changed nothing (the graph's update saw to that); say where it went wrong, and stop if the
  /// policy says so.
  void on_non_finite(StepParams params) {
    NonFinite found;
    for (int64_t micro = 0; micro < recipe_.train.accumulation && found.value.empty(); ++micro) {
      params.micro_step = static_cast<uint32_t>(micro);
      found = find_non_finite(forward_, backend_, state_, params, micro_inputs(micro),
                              update_options(recipe_).loss_scale);
    }
    const nlohmann::json dump = {{"step", progress_.step},       {"value", found.value},
                                 {"operation", found.operation}, {"phase", found.phase},
                                 {"samples", batch_.ids},        {"learning_rate", params.learning_rate}};
    write_file_atomically(options_.out / "non_finite.json", dump.dump(2) + "\n");
    const std::string message =
        fmt::format("step {}: loss or gradients are not finite; first in '{}' ({}, {}); sample numbers in {}",
                    progress_.step, found.value, found.operation, found.phase,
                    (options_.out / "non_finite.json").string());
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
  Batch batch_;
  TrainResult result_;
};

}  // namespace

TrainResult train(const Recipe& recipe, const ModelBuilder& build, const Dataset& train_data,
                  const Dataset& test_data, Backend& backend, const TrainOptions& options) {
  return Trainer(recipe, build, train_data, test_data, backend, options).run();
}

}  // namespace residuum
