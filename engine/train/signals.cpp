#include "engine/train/signals.h"

#include <unistd.h>
#include <csignal>

namespace residuum {
namespace {

volatile std::sig_atomic_t g_requested = 0;
struct sigaction g_previous_term, g_previous_int;

void on_signal(int number) {
  if (g_requested != 0) _exit(128 + number);
  g_requested = 1;
}

}  // namespace

StopSignals::StopSignals() {
  g_requested = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, &g_previous_term);
  sigaction(SIGINT, &action, &g_previous_int);
}

StopSignals::~StopSignals() {
  sigaction(SIGTERM, &g_previous_term, nullptr);
  sigaction(SIGINT, &g_previous_int, nullptr);
}

bool StopSignals::requested() const {
  return g_requested != 0;
}

}  // namespace residuum
