// A candidate is timed as it will run: recorded as a graph and replayed, several times over in one recording
// so that the start of a graph does not count. The candidates take turns, so that a clock that changes its
// speed changes it for all of them. What one replay shows to be far slower than the fastest is not timed on:
// cuDNN has algorithms that take a hundred times as long.
#include "engine/backend/cuda/autotune/autotuner.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/backend/cuda/launch/program.h"
#include "engine/core/check.h"
#include "engine/core/log.h"

namespace residuum::cuda {
namespace {

constexpr size_t kRounds = 5;                ///< timings of a candidate, of which the median counts
constexpr double kRoundMicroseconds = 1000;  ///< what a timing should last at least
constexpr double kMostRepeats = 50;          ///< of the candidate in one recording
constexpr double kHopeless = 3;              ///< times the fastest first run: no round is worth its time

class EventStopwatch : public Stopwatch {
 public:
  explicit EventStopwatch(Device& device) : device_(device) {}

  double microseconds(const std::string& candidate, const std::function<void()>& work) override {
    check_call(cudaEventRecord(begin_.get(), device_.stream(0)), "cudaEventRecord", "to measure time");
    work();
    check_call(cudaEventRecord(end_.get(), device_.stream(0)), "cudaEventRecord", "to measure time");
    check_call(cudaEventSynchronize(end_.get()), "cudaEventSynchronize",
               fmt::format("to measure the time of '{}'", candidate));
    float milliseconds = 0;
    check_call(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()), "cudaEventElapsedTime",
               "to measure time");
    return 1000 * double{milliseconds};
  }

 private:
  Device& device_;
  EventHandle begin_ = make_timed_event(), end_ = make_timed_event();
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

using Results = std::vector<std::vector<std::byte>>;

/// A candidate that is being timed.
class Runner {
 public:
  Runner(Device& device, const Candidate& candidate)
      : device_(device),
        name_(candidate.name),
        launch_(&device, "candidate " + candidate.name, candidate.steps, {}, candidate.passed) {}

  const std::string& name() const { return name_; }
  /// Of a run that is not recorded: a library may have something to do at first that cannot be.
  Results results(Trial& trial) {
    trial.bind(launch_);
    return trial.results_of([&] { launch_.run({}); });
  }
  /// Times one replay, of a recording of one launch.
  void time_once(Stopwatch& stopwatch) {
    warm_up(1);
    once_ = measured(stopwatch);
  }
  double once() const { return once_; }
  /// Records the launch `repeats` times, for all timings from now on, and replays it.
  void warm_up(size_t repeats) {
    repeats_ = repeats;
    program_ = std::make_unique<GraphProgram>(
        device_, std::vector<RecordedLaunch>(repeats, RecordedLaunch{&launch_, 0, {}}), true);
    program_->run({});
    device_.synchronize();
  }
  void time_round(Stopwatch& stopwatch) { rounds_.push_back(measured(stopwatch)); }
  /// Microseconds: the median of the rounds, if there were any.
  double microseconds() const { return rounds_.empty() ? once_ : median(rounds_); }

 private:
  double measured(Stopwatch& stopwatch) {
    return stopwatch.microseconds(name_, [&] { program_->run({}); }) / static_cast<double>(repeats_);
  }

  Device& device_;
  std::string name_;
  CudaLaunch launch_;
  std::unique_ptr<GraphProgram> program_;
  size_t repeats_ = 1;
  double once_ = 0;
  std::vector<double> rounds_;
};

size_t repeats_for(double microseconds) {
  const double wanted = kRoundMicroseconds / std::max(microseconds, kRoundMicroseconds / kMostRepeats);
  return static_cast<size_t>(std::ceil(std::max(wanted, 1.0)));
}

/// Rounds of those that one replay has not shown to be hopeless.
void time_in_turns(const std::vector<Runner*>& runners, Stopwatch& stopwatch) {
  double fastest = runners.front()->once();
  for (const Runner* runner : runners) fastest = std::min(fastest, runner->once());
  std::vector<Runner*> worth_it;
  for (Runner* runner : runners) {
    if (runner->once() > kHopeless * fastest) continue;
    runner->warm_up(repeats_for(fastest));
    worth_it.push_back(runner);
  }
  for (size_t round = 0; round < kRounds; ++round) {
    for (Runner* runner : worth_it) runner->time_round(stopwatch);
  }
}

/// "own 12.3 us, cudnn 10.1 us, cudnn 2 excluded (...)".
std::string times_text(const Measured& measured) {
  std::string text;
  for (const auto& [name, time] : measured.microseconds) {
    text += fmt::format("{}{} {:.1f} us", text.empty() ? "" : ", ", name, time);
  }
  for (const auto& [name, reason] : measured.excluded)
    text += fmt::format(", {} excluded ({})", name, reason);
  return text;
}

/// Where the candidate of that name stands.
std::optional<size_t> index_of(const std::vector<Candidate>& candidates, const std::string& name) {
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i].name == name) return i;
  }
  return std::nullopt;
}

/// Whether every candidate was there when this was measured.
bool covers(const Measured& measured, const std::vector<Candidate>& candidates) {
  const auto has = [](const auto& list, const std::string& name) {
    return std::any_of(list.begin(), list.end(), [&](const auto& entry) { return entry.first == name; });
  };
  return index_of(candidates, measured.choice) &&
         std::all_of(candidates.begin(), candidates.end(), [&](const Candidate& candidate) {
           return has(measured.microseconds, candidate.name) || has(measured.excluded, candidate.name);
         });
}

}  // namespace

std::unique_ptr<Stopwatch> make_event_stopwatch(Device& device) {
  return std::make_unique<EventStopwatch>(device);
}

Autotuner::Autotuner(Device& device, AutotuneCache cache, std::unique_ptr<Stopwatch> stopwatch)
    : device_(device), cache_(std::move(cache)), stopwatch_(std::move(stopwatch)) {}

size_t Autotuner::choose(const Graph& graph, const Group& group, const std::vector<Candidate>& candidates,
                         const StepOptions& own) {
  if (candidates.size() < 2) return 0;
  const std::string signature = signature_of(graph, group, own);
  const Measured* known = cache_.find(signature);
  if (known == nullptr || !covers(*known, candidates)) {
    if (!measures_ || unmeasured_.contains(signature)) return 0;
    try {
      cache_.add(signature, measure(graph, group, candidates, own));
    } catch (const OutOfMemory& error) {
      log_warning("autotuner: {}: not measured, {} is taken: {}", signature, candidates.front().name,
                  error.what());
      unmeasured_.insert(signature);
      return 0;
    }
    known = cache_.find(signature);
    ++fresh_;
    log_info("autotuner: {}: {}, from {}", signature, known->choice, times_text(*known));
  }
  chosen_[signature] = known->choice;
  return *index_of(candidates, known->choice);
}

Measured Autotuner::measure(const Graph& graph, const Group& group, const std::vector<Candidate>& candidates,
                            const StepOptions& own) {
  std::vector<std::unique_ptr<Runner>> runners;
  for (const Candidate& candidate : candidates) {
    runners.push_back(std::make_unique<Runner>(device_, candidate));
  }
  Trial trial(device_, graph, group, candidates, patterns_);
  const TrialLimit limit = trial_limit(graph, group, own.f32_math);
  Measured measured;
  const Results expected = runners.front()->results(trial);
  runners.front()->time_once(*stopwatch_);
  std::vector<Runner*> usable = {runners.front().get()};
  for (size_t i = 1; i < runners.size(); ++i) {
    std::string reason;
    try {
      reason = trial.difference(runners[i]->results(trial), expected, limit);
      if (reason.empty()) runners[i]->time_once(*stopwatch_);
    } catch (const OutOfMemory&) {
      throw;
    } catch (const Error& error) {
      device_.synchronize();  // throws when nothing works any more
      reason = error.what();
    }
    if (reason.empty()) {
      usable.push_back(runners[i].get());
      continue;
    }
    measured.excluded.emplace_back(runners[i]->name(), reason);
    log_warning("autotuner: candidate {} is left out: {}", runners[i]->name(), reason);
  }
  time_in_turns(usable, *stopwatch_);
  for (const Runner* runner : usable)
    measured.microseconds.emplace_back(runner->name(), runner->microseconds());
  measured.choice = std::min_element(measured.microseconds.begin(), measured.microseconds.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; })
                        ->first;
  return measured;
}

std::string Autotuner::summary() const {
  std::map<std::string, size_t> counts;
  for (const auto& [signature, name] : chosen_) ++counts[name];
  std::string text = fmt::format("autotuner: {} shapes", chosen_.size());
  for (const auto& [name, count] : counts) text += fmt::format(", {} {}", count, name);
  if (!unmeasured_.empty()) text += fmt::format(", {} not measured", unmeasured_.size());
  if (cache_.path().empty()) return text;
  return text + fmt::format("; cache {} ({} new)", cache_.path().string(), fresh_);
}

}  // namespace residuum::cuda
