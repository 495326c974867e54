// How everything here is timed: warmed up, then a number of samples between two marks of a device's timer, so
// that a GPU is never waited for between samples. The clock is the timer given: tests bring their own.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "bench/statistics.h"
#include "engine/backend/backend.h"

namespace residuum::bench {

struct Sampling {
  int samples = 20;                ///< >= 1
  double warm_up_seconds = 0.025;  ///< of work before the first sample; it is run once at least
};

/// Runs `work` until that has taken sampling.warm_up_seconds; seconds of the last run.
double warm_up(Timer& timer, const Sampling& sampling, const std::function<void()>& work);

/// Seconds of `work`, sample by sample; `before`, if any, runs ahead of each and is not counted.
std::vector<double> sample(Timer& timer, const Sampling& sampling, const std::function<void()>& work,
                           const std::function<void()>& before = {});

/// Leaves the largest cache filled with something else: copies as much as it holds from one place to another.
class CacheFlush {
 public:
  explicit CacheFlush(Backend& backend);
  void run();
  size_t bytes() const { return from_ ? from_->bytes() : 0; }

 private:
  Backend& backend_;
  std::unique_ptr<Memory> from_, to_;
};

/// Launches in a row, replayed as one program: how often to repeat one that takes `seconds` so that what
/// starting a program costs does not count, at least `least` times.
size_t repeats_for(double seconds, size_t least);

/// The program runs `launches` one after the other, `repeats` in all, beginning again after the last.
std::unique_ptr<Program> record_in_turn(Backend& backend, const std::vector<Launch*>& launches,
                                        size_t repeats);

}  // namespace residuum::bench
