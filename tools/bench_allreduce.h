// residuum bench allreduce: how fast the ranks sum, as the exchange of gradients does.
#pragma once

#include "tools/verbs.h"

namespace residuum {

Verb allreduce_verb(CLI::App& bench);

}  // namespace residuum
