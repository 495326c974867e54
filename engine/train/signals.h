// Asking a run to stop: SIGTERM, SIGINT and SIGHUP (a terminal that has gone) set a flag that the trainer
// reads after each step and each batch of an evaluation. A further signal ends the process at once, but only
// some time after the first one: service managers, timeout(1) and launchers send what they want twice, to a
// process and to its group.
#pragma once

namespace residuum {

/// Catches SIGTERM, SIGINT and, unless it is ignored (nohup), SIGHUP while it lives; the previous handlers
/// come back with its end. One at a time.
class StopSignals {
 public:
  /// A signal that comes within so many seconds of the first one says nothing new.
  static constexpr int kSameRequestSeconds = 2;

  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// True once a signal came.
  bool requested() const;
};

}  // namespace residuum
