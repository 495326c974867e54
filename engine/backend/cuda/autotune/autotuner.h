// Chooses the fastest candidate of a group by measuring, once for each signature: in this process, and
// through the cache file for all. Invariant: a choice changes which kernels run, so the rounding of results,
// but nothing else; with the same cache file it is the same.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "engine/backend/cuda/autotune/autotune_cache.h"
#include "engine/backend/cuda/autotune/candidates.h"
#include "engine/backend/cuda/autotune/trial.h"

namespace residuum::cuda {

/// Of the cache's header: to be raised when kernels or steps become faster or slower.
inline constexpr int kKernelRevision = 4;

/// Measures time; tests have their own.
class Stopwatch {
 public:
  virtual ~Stopwatch() = default;
  /// Microseconds of what `work` puts on the device's stream; `candidate` is its name.
  virtual double microseconds(const std::string& candidate, const std::function<void()>& work) = 0;
};

/// By events on the device's stream.
std::unique_ptr<Stopwatch> make_event_stopwatch(Device& device);

class Autotuner {
 public:
  /// `device` must outlive this.
  Autotuner(Device& device, AutotuneCache cache, std::unique_ptr<Stopwatch> stopwatch);

  /// The index of the candidate to take; candidates[0] is what the others' results are compared with, and
  /// what is taken when the device has no memory for measuring. Says what it chose. Candidates that fail, or
  /// give other results, are named and left out; those that take several times as long as the fastest are
  /// timed once. `own` are the options of candidates[0]. Throws Error(kDevice) when the first one fails.
  size_t choose(const Graph& graph, const Group& group, const std::vector<Candidate>& candidates,
                const StepOptions& own);
  /// Known choices are used from now on, unknown groups get their first candidate.
  void stop_measuring() { measures_ = false; }
  /// "autotuner: 53 shapes, 41 own, 12 cudnn; cache FILE (3 new)".
  std::string summary() const;

 private:
  Measured measure(const Graph& graph, const Group& group, const std::vector<Candidate>& candidates,
                   const StepOptions& own);

  Device& device_;
  AutotuneCache cache_;
  std::unique_ptr<Stopwatch> stopwatch_;
  RandomPatterns patterns_;
  std::map<std::string, std::string> chosen_;  ///< signature -> candidate, of this process
  std::set<std::string> unmeasured_;           ///< signatures for which there was no memory
  size_t fresh_ = 0;
  bool measures_ = true;
};

}  // namespace residuum::cuda
