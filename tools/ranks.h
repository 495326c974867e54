// The options by which a process learns its place among others, and the way it joins them.
#pragma once

#include <memory>
#include <string>

#include "engine/comm/communicator.h"
#include "tools/command.h"

namespace residuum {

struct RankOptions {
  PlaceFlags flags;
  std::string network = "auto";
  double timeout = 300;  ///< seconds
};

/// --launch, --rank, --ranks, --local-rank, --rendezvous, --network, --comm-timeout.
void add_rank_options(const Command& command, RankOptions& options);

/// The GPU of this rank: of those in CUDA_VISIBLE_DEVICES, which may be this rank's own alone.
int gpu_of(const RankPlace& place);

/// Meets the other ranks. The process ends with kExitCommunication when it hangs long after another rank
/// failed.
std::unique_ptr<Communicator> join_even_alone(const RankPlace& place, const RankOptions& options);
/// The same; null for a process alone.
std::unique_ptr<Communicator> join(const RankPlace& place, const RankOptions& options);

}  // namespace residuum
