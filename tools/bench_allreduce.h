// residuum bench allreduce: how fast the ranks sum, as the exchange of gradients does.
#pragma once

#include "tools/command.h"

namespace residuum {

Verb allreduce_verb(const Command& bench);

}  // namespace residuum
