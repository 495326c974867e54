// How long somebody has waited, by the time in which this process ran: a suspended job, a paused container or
// a migrating machine keeps nobody waiting, and must not end a run when it goes on.
#pragma once

#include <algorithm>
#include <chrono>

namespace residuum {

class Patience {
 public:
  using Clock = std::chrono::steady_clock;

  /// Begins to wait for up to `seconds`.
  explicit Patience(double seconds) : limit_(seconds) {}

  /// To be called often while waiting: whether that long has passed. Of the time between two calls no more
  /// than a quarter of the limit counts.
  bool is_over(Clock::time_point now = Clock::now()) {
    waited_ += std::min(std::chrono::duration<double>(now - seen_), limit_ / 4);
    seen_ = now;
    return waited_ >= limit_;
  }

 private:
  std::chrono::duration<double> limit_, waited_{0};
  Clock::time_point seen_ = Clock::now();
};

}  // namespace residuum
