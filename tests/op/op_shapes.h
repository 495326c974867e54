// Activation shapes shared by the tests of operations that know only pixels and channels.
#pragma once

#include <vector>

#include "engine/core/tensor.h"

namespace residuum {

/// One pixel, prime extents, channels around vector widths, batches above and below the number of shards.
inline const std::vector<Shape> kActivationShapes = {
    {1, 1, 1, 1},  {1, 1, 1, 17},  {1, 5, 7, 3},   {2, 3, 3, 7},  {3, 13, 11, 16},
    {2, 7, 5, 64}, {37, 3, 5, 17}, {70, 2, 3, 16}, {11, 8, 8, 1}, {5, 1, 2, 67},
};

}  // namespace residuum
