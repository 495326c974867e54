// How ranks find each other: all come to rank 0, which tells everybody who and where the others are, or why
// the run cannot begin.
#pragma once

#include <string>
#include <vector>

#include "engine/comm/rank_place.h"
#include "engine/comm/socket.h"

namespace residuum {

struct RankInfo {
  int rank = 0;
  std::string host;     ///< for people
  int process = 0;      ///< its id there
  std::string address;  ///< where it listens for other ranks
  int port = 0;

  /// "rank 2 (node03, process 4711)".
  std::string describe() const;
};

struct MeetingOptions {
  double timeout = 300;      ///< seconds until everybody must have come
  std::string version = {};  ///< of the program: must be the same on all ranks
  int listening_file = -1;   ///< rank 0: a socket that listens already, given by the launcher
};

struct Meeting {
  std::vector<RankInfo> ranks;
  Socket listener;  ///< of this rank, for other ranks
  std::vector<Socket>
      control;  ///< rank 0: to each other rank, by rank (its own is closed); else one, to rank 0
};

/// Meets at `place`. Throws Error(kCommunication) naming address, port and who was waited for when that takes
/// too long; what rank 0 found when ranks do not fit together: one that came twice, another number of ranks,
/// another version.
Meeting meet(const RankPlace& place, const MeetingOptions& options);

}  // namespace residuum
