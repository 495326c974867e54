#include "engine/train/trainer.h"

#include <fmt/format.h>
#include <array>
#include <chrono>
#include <utility>

#include "engine/checkpoint/store.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/core/log.h"
#include "engine/train/memory_fit.h"
#include "engine/train/non_finite.h"
#include "engine/train/resume.h"
#include "engine/train/schedule.h"
#include "engine/train/signals.h"
#include "engine/train/step_in_flight.h"
#include "engine/train/switches.h"
#include "engine/train/team.h"
#include "engine/train/training_setup.h"
#include "engine/train/units.h"
#include "engine/train/weights.h"

namespace residuum {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Weights see images as those they were trained on were normalised.
void warn_of_other_normalisation(const SafetensorsFile& file, const DataRecipe& now) {
  const SafetensorsMetadata metadata = file.metadata();
  const auto recipe = metadata.find("recipe");
  if (recipe == metadata.end()) return;
  const DataRecipe before = parse_recipe(recipe->second, file.name()).data;
  if (before.mean == now.mean && before.std == now.std) return;
  log_warning("{} was trained with data.mean = [{}] and data.std = [{}], this run has [{}] and [{}]",
              file.name(), fmt::join(before.mean, ", "), fmt::join(before.std, ", "),
              fmt::join(now.mean, ", "), fmt::join(now.std, ", "));
}

/// A report that the disk refuses must neither end a run nor hide what it is about.
void write_or_warn(const std::filesystem::path& file, const std::string& text) {
  try {
    write_file_atomically(file, text);
  } catch (const Error& error) {
    log_warning("{}", error.what());
  }
}

class Trainer {
 public:
  Trainer(const Recipe& recipe, const ModelBuilder& build, const Dataset& train_data,
          const Dataset& test_data, Backend& backend, const TrainOptions& options)
      : recipe_(recipe),
        options_(options),
        train_data_(train_data),
        backend_(backend),
        team_(options.communicator),
        share_(share_of(recipe, team_.rank(), team_.ranks())),
        files_(team_.leads() ? std::make_unique<Files>(recipe, options) : nullptr),
        observers_(team_.leads() ? options.observers : std::vector<TrainObserver*>()),
        state_(backend),
        loader_(checked(train_data, test_data, recipe), train_loader_options(recipe, share_)),
        classes_(class_count(recipe, train_data)),
        forward_(training_graph(recipe, build, share_.micro_batch(recipe), loader_.image_shape(), classes_)),
        executor_(training_step(recipe, forward_, backend, share_), backend, state_,
                  {plan_options(recipe.train.disable_passes, {.exchange = options.exchange}),
                   static_cast<uint64_t>(recipe.train.seed),
                   {}}),
        evaluator_(build, test_data, recipe, backend, state_, recipe.optimizer.ema_decay > 0,
                   options.communicator),
        steps_per_epoch_(loader_.batches()) {
    check(steps_per_epoch_ > 0, ErrorKind::kConfig,
          "train.batch is {}, the training split has only {} samples", recipe.train.batch, train_data.size());
    total_steps_ = total_steps(recipe, steps_per_epoch_);
    start(train_data, test_data);
  }

  TrainResult run() {
    const StopSignals signals;
    if (progress_.evaluation_due) finish_epoch(signals, (progress_.step - 1) / steps_per_epoch_);
    while (progress_.step < total_steps_ && !result_.interrupted) run_epoch(signals);
    team_.wait("end");
    result_.steps = progress_.step;
    result_.last = progress_.last;
    result_.best = progress_.best;
    return result_;
  }

 private:
  struct Weights {
    TensorFileContent content;
    SafetensorsMetadata metadata;
    WeightsFile file() const { return {content.tensors, metadata}; }
  };
  /// The directory of the run.
  struct Files {
    Files(const Recipe& recipe, const TrainOptions& options)
        : lock(prepared(options.out)),
          store(options.out / "checkpoints", static_cast<size_t>(recipe.checkpoint.keep)) {}
    static DirectoryLock prepared(const std::filesystem::path& out) {
      make_directories(out);
      return DirectoryLock(out);
    }

    DirectoryLock lock;
    CheckpointStore store;
  };

  static const Dataset& checked(const Dataset& train_data, const Dataset& test_data, const Recipe& recipe) {
    const int64_t classes = class_count(recipe, train_data), tested = class_count(recipe, test_data);
    check(classes == tested, ErrorKind::kData, "the training split has {} classes and the test split {}",
          classes, tested);
    check(recipe.train.batch <= train_data.size(), ErrorKind::kConfig,
          "train.batch is {}, must be at most the {} samples of the training split", recipe.train.batch,
          train_data.size());
    return train_data;
  }

  void start(const Dataset& train_data, const Dataset& test_data) {
    data_facts_ = data_facts(train_data, test_data, classes_);
    team_.check_same(recipe_, fmt::format("{}device = {}\n", data_facts_, backend_.name()));
    const int64_t resumed = begin_or_resume();
    if (files_ == nullptr) return;
    write_file_atomically(options_.out / "recipe.toml", to_toml(recipe_));
    const RunInfo info{.recipe = recipe_,
                       .plan = executor_.plan(),
                       .evaluation_bytes = evaluator_.arena_bytes(),
                       .device = backend_.describe(),
                       .communication = communication_text(),
                       .train_samples = train_data.size(),
                       .test_samples = test_data.size(),
                       .classes = classes_,
                       .steps_per_epoch = steps_per_epoch_,
                       .total_steps = total_steps_,
                       .resumed_step = resumed,
                       .evaluation_due = progress_.evaluation_due,
                       .out = options_.out};
    for (TrainObserver* observer : observers_) observer->on_start(info);
  }

  /// Rank 0 loads what was saved, and all begin with its bits; returns the step saved, -1 for a new run.
  int64_t begin_or_resume() {
    nlohmann::json meta;
    if (files_ != nullptr && options_.resume) {
      if (std::optional<LoadedState> saved = files_->store.load_newest()) {
        check_resumable(saved->meta, recipe_, data_facts_);
        import_state(state_, saved->file);
        meta = saved->meta;
      }
    } else if (files_ != nullptr) {
      check(files_->store.steps().empty(), ErrorKind::kConfig,
            "'{}' already holds a run with saved states; resume it or choose another directory",
            options_.out.string());
    }
    if (files_ != nullptr && meta.is_null()) begin();
    meta = parse_json(team_.from_leader(json_text(meta), "progress"));
    team_.share(state_);
    if (meta.is_null()) return -1;
    progress_ = progress_from_json(meta);
    return progress_.step;
  }

  std::string communication_text() const {
    if (options_.exchange == nullptr) return {};
    size_t collectives = 0, bytes = 0;
    const Plan& plan = executor_.plan();
    for (const Group& group : plan.groups) {
      if (!is_all_reduce(plan.graph, group)) continue;
      ++collectives;
      for (const ValueId id : plan.graph.node(group.nodes[0]).inputs) bytes += plan.graph.desc(id).bytes();
    }
    return fmt::format("{}; {} in {} collectives a step", options_.exchange->describe(),
                       bytes_text(static_cast<int64_t>(bytes)), collectives);
  }

  /// Initial weights, at which averages start too.
  void begin() {
    if (!recipe_.train.weights.empty()) {
      check(std::filesystem::exists(recipe_.train.weights), ErrorKind::kCheckpoint,
            "train.weights is {}: there is no such file", recipe_.train.weights);
      const SafetensorsFile file = SafetensorsFile::read(recipe_.train.weights);
      warn_of_other_normalisation(file, recipe_.data);
      const bool whole = import_initial_weights(state_, file, head_parameters(forward_));
      log_info("training starts from {}{}", recipe_.train.weights,
               whole ? "" : ", but for the last layer, whose classes are others there");
    }
    if (recipe_.optimizer.ema_decay == 0) return;
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
      result_.interrupted = team_.any(signals.requested(), "stop") && progress_.step < total_steps_;
      if (progress_.step == end || saving_step || result_.interrupted) finish_step();
      if (progress_.step == end) {
        finish_epoch(signals, epoch);
      } else if (saving_step || result_.interrupted) {
        save(false);
      }
      if (result_.interrupted) return;
    }
  }

  /// While the device works on this step's gradients the host looks at the step before, whose update is the
  /// last that has run: what find_non_finite sees then are the weights of that step. Where launches wait, the
  /// step itself is looked at: its time would else be told with that of the next one.
  void run_step(int64_t epoch) {
    if (in_flight_ == nullptr) lap_begin_ = Clock::now();
    StepInFlight& step = steps_[in_flight_ == &steps_[0] ? 1 : 0];
    const double waited_before = loader_.wait_seconds();
    check(loader_.next(step.batch), ErrorKind::kInternal, "epoch {} ended before step {}", epoch,
          progress_.step);
    step.data_seconds = loader_.wait_seconds() - waited_before;
    step.epoch = epoch;
    step.params = {share_.seed(recipe_), static_cast<uint64_t>(progress_.step), 0,
                   static_cast<float>(learning_rate(recipe_, steps_per_epoch_, progress_.step))};
    step.launch_gradients(executor_, share_.micro_steps, share_.first_micro_step());
    finish_step();
    step.launch_update(executor_);
    in_flight_ = &step;
    ++progress_.step;
    if (backend_.launches_wait()) finish_step();
  }

  /// Waits for the step in flight, if there is one, and reports it.
  void finish_step() {
    if (in_flight_ == nullptr) return;
    StepInFlight& step = *std::exchange(in_flight_, nullptr);
    const StepOutcome found = team_.combined(step.outcome());
    count_unreadable(found.unreadable);
    if (!found.finite) on_non_finite(step);
    StepReport report;
    report.step = static_cast<int64_t>(step.params.step) + 1;
    report.total_steps = total_steps_;
    report.epoch = step.epoch;
    report.total_epochs = (total_steps_ + steps_per_epoch_ - 1) / steps_per_epoch_;
    report.loss = found.loss();
    report.top1_accuracy =
        found.valid == 0 ? 0 : static_cast<double>(found.right) / static_cast<double>(found.valid);
    report.learning_rate = learning_rate(recipe_, steps_per_epoch_, static_cast<int64_t>(step.params.step));
    report.gradient_norm = found.gradient_norm * gradient_scale(update_options(recipe_, share_));
    report.data_seconds = step.data_seconds;
    report.images = recipe_.train.batch;
    report.skipped = !found.finite;
    report.logged = report.step % recipe_.train.log_every == 0 || report.step == total_steps_;
    report.seconds = seconds_since(std::exchange(lap_begin_, Clock::now()));
    if (options_.exchange != nullptr) {
      const double waited = options_.exchange->waited_seconds();
      report.communication_seconds = waited - std::exchange(communication_waited_, waited);
    }
    result_.train_seconds += report.seconds;
    result_.train_images += report.images;
    progress_.average.add(report);
    report.average = progress_.average;
    if (report.logged) progress_.average = {};
    for (TrainObserver* observer : observers_) observer->on_step(report);
  }

  /// A rank's loader counts its own samples: what all of them have masked decides at the same step
  /// everywhere.
  void count_unreadable(const std::vector<int64_t>& samples) {
    progress_.unreadable.insert(samples.begin(), samples.end());
    check(static_cast<int64_t>(progress_.unreadable.size()) <= recipe_.data.bad_sample_limit,
          ErrorKind::kData,
          "{} samples could not be read on all ranks together, data.bad_sample_limit is {}; the last ones "
          "are {}",
          progress_.unreadable.size(), recipe_.data.bad_sample_limit, fmt::join(samples, ", "));
  }

  /// The step changed nothing (the graph's update saw to that); say where it went wrong, and stop if the
  /// policy says so.
  void on_non_finite(const StepInFlight& step) {
    const int64_t pieces = share_.micro_steps;
    StepParams params = step.params;
    NonFinite found;
    for (int64_t micro = 0; micro < pieces && found.value.empty(); ++micro) {
      params.micro_step = share_.first_micro_step() + static_cast<uint32_t>(micro);
      found = find_non_finite(forward_, backend_, state_, params, step.micro_inputs(micro, pieces),
                              update_options(recipe_, share_).loss_scale);
    }
    nlohmann::json dump = {{"step", params.step},          {"value", found.value},
                           {"operation", found.operation}, {"phase", found.phase},
                           {"samples", step.batch.ids},    {"learning_rate", params.learning_rate}};
    dump = first_found(dump);
    const std::filesystem::path file = options_.out / "non_finite.json";
    if (files_ != nullptr) write_or_warn(file, json_text(dump, 2) + "\n");
    const std::string message =
        fmt::format("step {}: loss or gradients are not finite; first in '{}' ({}, {}); sample numbers in {}",
                    params.step, dump["value"].get<std::string>(), dump["operation"].get<std::string>(),
                    dump["phase"].get<std::string>(), file.string());
    check(recipe_.train.nan_policy == NanPolicy::kSkip, ErrorKind::kNumeric,
          "{}; weights, statistics and checkpoints are those before the step (train.nan_policy = \"skip\" "
          "goes on)",
          message);
    if (files_ != nullptr) log_warning("{}; the step is skipped", message);
  }

  /// What the first rank that found something found, with the samples of all ranks.
  nlohmann::json first_found(const nlohmann::json& mine) const {
    nlohmann::json first, samples = nlohmann::json::array();
    for (const std::string& text : team_.gather(json_text(mine), "not finite")) {
      const nlohmann::json theirs = parse_json(text);
      samples.insert(samples.end(), theirs["samples"].begin(), theirs["samples"].end());
      if (first.is_null() || first["value"] == "") first = theirs;
    }
    first["samples"] = samples;
    return first;
  }

  /// A request to stop breaks the evaluation off: the state says so, and the resumed run does it again.
  void finish_epoch(const StopSignals& signals, int64_t epoch) {
    const bool last = progress_.step == total_steps_;
    progress_.evaluation_due = progress_.evaluation_due || last ||
                               (recipe_.train.eval_every > 0 && (epoch + 1) % recipe_.train.eval_every == 0);
    bool best = false;
    if (progress_.evaluation_due) {
      const auto stop = [&] { return team_.any(signals.requested(), "stop"); };
      if (const std::optional<Evaluation> found = evaluator_.run_until(stop)) {
        best = take_evaluation(*found, epoch);
      } else {
        result_.interrupted = true;
      }
    }
    save(best);
  }

  /// Reports it; whether it is the best so far.
  bool take_evaluation(const Evaluation& found, int64_t epoch) {
    const bool best = progress_.best_step < 0 || found.top1 > progress_.best.top1;
    progress_.evaluation_due = false;
    progress_.last = found;
    if (best) {
      progress_.best = found;
      progress_.best_step = progress_.step;
    }
    const EvaluationReport report{progress_.step, epoch, found, recipe_.optimizer.ema_decay > 0, best};
    for (TrainObserver* observer : observers_) observer->on_evaluation(report);
    return best;
  }

  /// A disk that refuses costs this checkpoint, not the run.
  void save(bool best) {
    team_.check_replicas(state_, progress_.step);
    if (files_ == nullptr) return;
    for (TrainObserver* observer : observers_) observer->on_save(progress_.step);
    const std::string prefix = recipe_.optimizer.ema_decay > 0 ? "ema." : "";
    const auto weights = std::make_shared<const Weights>(
        Weights{export_weights(state_, prefix, progress_.step * commits_per_step()),
                {{"model", recipe_.model.name},
                 {"step", std::to_string(progress_.step)},
                 {kClassesKey, class_names_text(train_data_.classes())},
                 {"recipe", to_toml(deciding_part(recipe_))}}});
    if (best) unsaved_best_ = weights;
    try {
      write(weights->file());
    } catch (const Error& error) {
      // On the way out there is no later save to hope for.
      if (error.kind() != ErrorKind::kIo || result_.interrupted || progress_.step == total_steps_) throw;
      log_warning("the state of step {} was not saved: {}", progress_.step, error.what());
    }
  }

  /// Where there is no room for all, a state counts more than the best weights, which may fit later.
  void write(const WeightsFile& last) {
    const TensorFileContent everything = export_state(state_);
    const TrainingState state{progress_.step, to_json(progress_, recipe_, data_facts_), everything.tensors};
    if (unsaved_best_ == nullptr) {
      files_->store.save(state, last);
      return;
    }
    const WeightsFile best = unsaved_best_->file();
    try {
      files_->store.save(state, last, &best);
      unsaved_best_.reset();
    } catch (const DiskFull& error) {
      log_warning("the best weights, of step {}, are not saved: {}", best.metadata.at("step"), error.what());
      files_->store.save(state, last);
      if (progress_.step == total_steps_ && !result_.interrupted) throw;
    }
  }

  /// How often a step changes the running statistics.
  int64_t commits_per_step() const { return share_.ranks > 1 || share_.in_pairs ? 1 : share_.micro_steps; }

  const Recipe& recipe_;
  const TrainOptions& options_;
  const Dataset& train_data_;
  Backend& backend_;
  Team team_;
  Share share_;
  std::unique_ptr<Files> files_;           ///< of rank 0
  std::vector<TrainObserver*> observers_;  ///< of rank 0
  State state_;
  Loader loader_;
  int64_t classes_;
  Graph forward_;
  Executor executor_;
  Evaluator evaluator_;
  int64_t steps_per_epoch_;
  int64_t total_steps_ = 0;
  std::string data_facts_;
  Progress progress_;
  std::shared_ptr<const Weights> unsaved_best_;  ///< the best so far, where the disk refused it
  std::array<StepInFlight, 2> steps_;
  StepInFlight* in_flight_ = nullptr;  ///< the one of steps_ that is launched and not reported yet
  Clock::time_point lap_begin_;        ///< end of the last report, or begin of the first step after a pause
  double communication_waited_ = 0;    ///< until the last report
  TrainResult result_;
};

}  // namespace

TrainResult train(const Recipe& recipe, const ModelBuilder& build, const Dataset& train_data,
                  const Dataset& test_data, Backend& backend, const TrainOptions& options) {
  std::unique_ptr<Trainer> trainer;
  try {
    trainer = std::make_unique<Trainer>(recipe, build, train_data, test_data, backend, options);
  } catch (const OutOfMemory&) {
    const Team team(options.communicator);
    fail(ErrorKind::kDevice, "{}",
         explain_out_of_memory(recipe, build, train_data, test_data, backend,
                               share_of(recipe, team.rank(), team.ranks())));
  }
  return trainer->run();
}

}  // namespace residuum
