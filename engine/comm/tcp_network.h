// Messages over one TCP connection to each partner.
#pragma once

#include <memory>

#include "engine/comm/meeting.h"
#include "engine/comm/network.h"

namespace residuum {

/// Connects this rank with its partners: of two the lower one listens. Throws Error(kCommunication) naming
/// the rank that did not come within `timeout` seconds.
std::unique_ptr<Network> make_tcp_network(int rank, Meeting& meeting, double timeout);

}  // namespace residuum
