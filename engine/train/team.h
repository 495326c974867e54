// What the ranks of a run decide together. Alone, every function gives this process's own answer at once.
// Invariant: all ranks call the same functions in the same order.
#pragma once

#include <string>
#include <vector>

#include "engine/comm/communicator.h"
#include "engine/exec/state.h"
#include "engine/train/evaluator.h"
#include "engine/train/recipe.h"
#include "engine/train/step_in_flight.h"

namespace residuum {

class Team {
 public:
  /// Null: alone. Must outlive this.
  explicit Team(Communicator* communicator) : communicator_(communicator) {}

  int rank() const { return communicator_ == nullptr ? 0 : communicator_->rank(); }
  int ranks() const { return communicator_ == nullptr ? 1 : communicator_->ranks(); }
  /// Rank 0 alone reads and writes the files of the run.
  bool leads() const { return rank() == 0; }

  /// What each rank gave, by rank.
  std::vector<std::string> gather(const std::string& mine, const std::string& name) const;
  /// Whether any rank says yes.
  bool any(bool mine, const std::string& name) const;
  /// Returns when all ranks are here.
  void wait(const std::string& name) const { gather({}, name); }
  /// What rank 0 gave.
  std::string from_leader(const std::string& mine, const std::string& name) const;

  /// Throws Error(kConfig), on all ranks, listing each key of the deciding part of a recipe and each of
  /// `facts` (lines "NAME = VALUE") in which a rank differs from rank 0.
  void check_same(const Recipe& recipe, const std::string& facts) const;
  /// Gives every value of `state`, but sums over micro-steps, the bits it has on rank 0.
  void share(State& state) const;
  /// Throws Error(kCommunication) naming the ranks whose state is not rank 0's, bit for bit.
  void check_replicas(const State& state, int64_t step) const;

  /// The outcome of the whole step from those of the ranks: losses averaged in the order of the micro-steps
  /// of rank 0, then those of rank 1, and so on.
  StepOutcome combined(const StepOutcome& mine) const;

 private:
  Communicator* communicator_;
};

}  // namespace residuum
