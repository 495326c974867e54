#include "bench/harness.h"

#include <algorithm>
#include <cmath>

namespace residuum::bench {
namespace {

constexpr int kMostWarmUps = 10000;                 ///< of work that takes no time at all
constexpr size_t kMostFlushed = size_t{128} << 20;  ///< a server's L3 may be far larger than its share
constexpr double kProgramSeconds = 0.5e-3;          ///< what a replayed program should last at least
constexpr size_t kMostRepeats = 64;

double seconds_of(Timer& timer, const std::function<void()>& work) {
  timer.mark();
  work();
  timer.mark();
  return timer.intervals().front();
}

}  // namespace

double warm_up(Timer& timer, const Sampling& sampling, const std::function<void()>& work) {
  double last = 0, total = 0;
  for (int i = 0; i < kMostWarmUps && (i == 0 || total < sampling.warm_up_seconds); ++i) {
    last = seconds_of(timer, work);
    total += last;
  }
  return last;
}

std::vector<double> sample(Timer& timer, const Sampling& sampling, const std::function<void()>& work,
                           const std::function<void()>& before) {
  for (int i = 0; i < sampling.samples; ++i) {
    if (before) before();
    timer.mark();
    work();
    timer.mark();
  }
  const std::vector<double> intervals = timer.intervals();
  std::vector<double> seconds;  // every other interval: between lies `before`
  for (size_t i = 0; i < intervals.size(); i += 2) seconds.push_back(intervals[i]);
  return seconds;
}

CacheFlush::CacheFlush(Backend& backend) : backend_(backend) {
  const size_t bytes = std::min(backend.cache_bytes(), kMostFlushed);
  if (bytes == 0) return;
  from_ = backend.allocate(bytes);
  to_ = backend.allocate(bytes);
}

void CacheFlush::run() {
  if (from_) backend_.copy(to_->data(), from_->data(), from_->bytes());
}

size_t repeats_for(double seconds, size_t least) {
  const double wanted = std::ceil(kProgramSeconds / std::max(seconds, kProgramSeconds / kMostRepeats));
  return std::max(least, static_cast<size_t>(wanted));
}

std::unique_ptr<Program> record_in_turn(Backend& backend, const std::vector<Launch*>& launches,
                                        size_t repeats) {
  std::vector<RecordedLaunch> recorded;
  for (size_t i = 0; i < repeats; ++i) recorded.push_back({launches[i % launches.size()], 0, {}});
  return backend.record(std::move(recorded));
}

}  // namespace residuum::bench
