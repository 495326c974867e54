// Asking a run to stop: SIGTERM and SIGINT set a flag that the trainer reads after each step. A second signal
// ends the process at once.
#pragma once

namespace residuum {

/// Catches SIGTERM and SIGINT while it lives; the previous handlers come back with its end. One at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// True once a signal came.
  bool requested() const;
};

}  // namespace residuum
