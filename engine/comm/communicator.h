// This process among the ranks of a run. Collectives run one after the other in a thread of their own, in the
// order in which they were begun, which must be the same on all ranks. Invariant: a collective ends: with its
// result, or on all ranks with an Error(kCommunication) naming the rank that is dead, stuck or elsewhere.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/comm/rank_place.h"

namespace residuum {

struct CommunicatorOptions {
  /// Seconds: for all ranks to come, for a rank to be silent, for a rank to be missing in a collective.
  double timeout = 300;
  std::string version = {};      ///< must be the same on all ranks
  std::string network = "auto";  ///< "tcp", "mpi"; auto: MPI where MPI started the processes
  /// Called long after a failure when this process has not ended by itself; should end it.
  std::function<void(const std::string&)> on_stuck = {};
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;
  /// "rank 1 of 4 (Slurm), Open MPI 4.1.4".
  virtual std::string describe() const = 0;

  /// Begins to replace `values` by their sum over the ranks: the same bits on all, added in pairs
  /// (network.h).
  virtual std::future<void> begin_sum(std::span<float> values, const std::string& name) = 0;
  /// What each rank gave, by rank.
  virtual std::vector<std::string> gather(const std::string& mine, const std::string& name) = 0;

  /// Throws Error(kCommunication) once the run cannot go on; for those who wait by other means.
  virtual void check_alive() const = 0;
  /// Tells of a collective by other means, for the monitor and the record of the last ones.
  virtual uint64_t enter(const std::string& name, size_t bytes) = 0;
  virtual void leave(uint64_t number) = 0;
  /// Asks `error`, from another thread, twice a second for an error of this rank, which ends all. Null: no
  /// more.
  virtual void poll(std::function<std::optional<std::string>()> error) = 0;
  /// `interrupt` is called, from another thread, once the run cannot go on. Null: nobody any more.
  virtual void on_failure(std::function<void()> interrupt) = 0;
  /// This rank cannot go on, for `reason`: the others end, too. Throws nothing.
  virtual void fail(const std::string& reason) noexcept = 0;
};

/// Meets the other ranks. Throws Error(kCommunication) as meet() does, Error(kUsage) for a network that this
/// program or launch does not have.
std::unique_ptr<Communicator> join_ranks(const RankPlace& place, const CommunicatorOptions& options);

/// For whom a call has failed that another rank's end could explain: throws the verdict on that rank as soon
/// as there is one, and returns when none has come for 3 s.
void await_verdict(const Communicator& communicator);

/// A number from each rank, by rank.
std::vector<double> gather_numbers(Communicator& communicator, double mine, const std::string& name);
/// Whether any rank says yes.
bool any_rank(Communicator& communicator, bool mine, const std::string& name);

}  // namespace residuum
