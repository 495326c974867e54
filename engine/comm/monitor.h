// Who of the ranks is alive and how far it is. Each rank tells rank 0 twice a second, from a thread of its
// own; rank 0 decides who is dead, silent or late and tells everybody. Invariant: there is one verdict, the
// first one, and the same text on every rank that hears it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/comm/meeting.h"

namespace residuum {

struct MonitorOptions {
  /// Seconds that a rank may be silent, or be missing in a collective in which others wait.
  double timeout = 300;
  /// Asked twice a second for an error of this rank that nobody else would notice; given twice, it ends all.
  std::function<std::optional<std::string>()> poll;
  /// Called once with the verdict, from the monitor's thread: interrupts what waits for the other ranks.
  std::function<void(const std::string&)> on_verdict;
  /// Called when this process is still there long after a verdict: what it waits for cannot be interrupted.
  std::function<void(const std::string&)> on_stuck;
};

class Monitor {
 public:
  /// Takes the control connections of `meeting`.
  Monitor(int rank, Meeting& meeting, MonitorOptions options);
  /// Takes leave of the others.
  ~Monitor();
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  /// This rank enters collective `number`, or has left the last one.
  void enter(uint64_t number, const std::string& name);
  void leave();
  /// Why the run cannot go on, once that is known.
  std::optional<std::string> verdict() const;
  /// This rank cannot go on: the others are told.
  void fail(const std::string& reason);

 private:
  using Clock = std::chrono::steady_clock;

  /// What is known of a rank.
  struct Progress {
    uint64_t number = 0;        ///< of its last collective, from 1
    long waiting_ms = -1;       ///< how long it has been in it; -1: not in one
    std::string name;           ///< of that collective
    Clock::time_point heard{};  ///< when it last spoke
    bool gone = false;          ///< it has taken leave
  };
  struct Peer {
    Socket socket;
    int rank = 0;
    std::string inbox, outbox;
  };

  void run(const std::stop_token& stop);
  void speak(Peer& peer, const std::string& line);
  void listen(Peer& peer);
  void hear(Peer& peer, const std::string& line);
  /// This process stood still for so long: nobody was silent or late for that time.
  void forgive(Clock::duration pause, Clock::time_point now);
  /// Who is silent or late, if anybody is.
  std::optional<std::string> judge(Clock::time_point now) const;
  std::optional<std::string> judge_collectives() const;
  void decide(const std::string& text);
  Progress own_progress(Clock::time_point now) const;
  std::string name_of(int rank) const { return ranks_[static_cast<size_t>(rank)].describe(); }

  const int rank_;
  const std::vector<RankInfo> ranks_;
  const MonitorOptions options_;
  std::vector<Peer> peers_;
  std::vector<Progress> progress_;  ///< by rank; the monitor's thread alone

  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  uint64_t number_ = 0;  ///< of this rank's collective, as the members below under mutex_
  std::string name_;
  std::optional<Clock::time_point> entered_;
  std::optional<std::string> own_failure_, verdict_;
  Clock::time_point decided_{};

  std::jthread thread_;  ///< last: stopped and joined before anything it uses goes
};

}  // namespace residuum
