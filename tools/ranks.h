// The options by which a process learns its place among others, and the way it joins them.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "engine/comm/communicator.h"

namespace residuum {

struct RankOptions {
  PlaceFlags flags;
  std::string network = "auto";
  double timeout = 300;  ///< seconds
};

/// --launch, --rank, --ranks, --local-rank, --rendezvous, --network, --comm-timeout.
void add_rank_options(CLI::App& command, RankOptions& options);

/// Meets the other ranks; null for a process alone. The process ends with kExitCommunication when it hangs
/// long after another rank failed.
std::unique_ptr<Communicator> join(const RankPlace& place, const RankOptions& options);

}  // namespace residuum
