#include "engine/train/signals.h"

#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>

namespace residuum {
namespace {

/// When the first signal came, in milliseconds of the monotonic clock; 0: none yet.
std::atomic<int64_t> g_first{0};
static_assert(std::atomic<int64_t>::is_always_lock_free, "a signal handler must not take a lock");

constexpr std::array kCaught = {SIGTERM, SIGINT, SIGHUP};
std::array<struct sigaction, kCaught.size()> g_previous;

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
  for (size_t i = 0; i < kCaught.size(); ++i) {
    sigaction(kCaught[i], nullptr, &g_previous[i]);
    // nohup has a run outlive its terminal.
    if (kCaught[i] == SIGHUP && g_previous[i].sa_handler == SIG_IGN) continue;
    sigaction(kCaught[i], &action, nullptr);
  }
}

StopSignals::~StopSignals() {
  for (size_t i = 0; i < kCaught.size(); ++i) sigaction(kCaught[i], &g_previous[i], nullptr);
}

bool StopSignals::requested() const {
  return g_first != 0;
}

}  // namespace residuum
