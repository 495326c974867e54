// A small net of what ResNet-50 is made of, for tests of whole steps.
#pragma once

#include "engine/graph/graph.h"

namespace residuum {

/// A stem with a max pool and three bottlenecks, two with a projection, the last one at half the size; images
/// of image_size x image_size.
Graph bottleneck_net(DType activation, int64_t batch, int64_t image_size, int64_t classes);

}  // namespace residuum
