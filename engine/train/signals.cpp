#include "engine/train/signals.h"

#include <time.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>

namespace residuum {
namespace {

/// When the first signal came, in milliseconds of the monotonic clock; 0: none yet.
std::atomic<int64_t> g_first{0};
static_assert(std::atomic<int64_t>::is_always_lock_free, "a signal handler must not take a lock");
struct sigaction g_previous_term, g_previous_int;

void on_signal(int number) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t milliseconds = int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000 + 1;
  int64_t first = 0;
  if (g_first.compare_exchange_strong(first, milliseconds)) return;
  if (milliseconds - first >= StopSignals::kSameRequestSeconds * 1000) _exit(128 + number);
}

}  // namespace

StopSignals::StopSignals() {
  g_first = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // a loader thread's read must not fail because the run is to stop
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, &g_previous_term);
  sigaction(SIGINT, &action, &g_previous_int);
}

StopSignals::~StopSignals() {
  sigaction(SIGTERM, &g_previous_term, nullptr);
  sigaction(SIGINT, &g_previous_int, nullptr);
}

bool StopSignals::requested() const {
  return g_first != 0;
}

}  // namespace residuum
