// An all-reduce of a plan: what the executor hands to the exchange between two programs of launches.
#pragma once

#include <vector>

#include "engine/backend/backend.h"
#include "engine/comm/exchange.h"

namespace residuum {

class AllReduceLaunch : public Launch {
 public:
  /// `group` is one AllReduce node; `exchange` must outlive this, null in a plan that is not run.
  AllReduceLaunch(const Graph& graph, const Group& group, Exchange* exchange);

  size_t scratch_bytes() const override { return 0; }
  void bind(std::span<std::byte* const> addresses, std::byte* scratch) override;
  /// Begins the sums. Throws Error(kInternal) without an exchange.
  void run(const StepParams& params) override;
  Cost cost() const override { return cost_; }

 private:
  const Node node_;
  Exchange* exchange_;
  std::vector<SummedMemory> memory_;  ///< without addresses until bound
  Cost cost_;
};

}  // namespace residuum
