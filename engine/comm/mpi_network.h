// MPI, in builds that found one: it tells the ranks where to meet and carries their messages. In other builds
// (no_mpi.cpp) every function but mpi_version() throws Error(kUsage) saying so.
#pragma once

#include <memory>
#include <vector>

#include "engine/comm/meeting.h"
#include "engine/comm/network.h"

namespace residuum {

/// "Open MPI 4.1.4"; empty in a build without MPI.
std::string mpi_version();

/// Starts MPI. Rank 0 begins to listen, all learn where: `place` gets MPI's rank and the address. Returns
/// rank 0's listening socket, -1 elsewhere.
int find_meeting_by_mpi(RankPlace& place);

/// After find_meeting_by_mpi. With the network MPI ends, unless an exchange has failed.
std::unique_ptr<Network> make_mpi_network(std::vector<RankInfo> ranks);

}  // namespace residuum
