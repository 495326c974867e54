// Augmentation inside the graph: a window of each image, whose place the loader draws.
#pragma once

#include "engine/graph/graph.h"

namespace residuum {

/// Adds the input "windows" i32 N,3 (see CropFlip) and lets every reader of the input "images" read the
/// windows' pixels instead, of the same size as the images. `graph` must have an input "images" u8 N,H,W,C.
Graph add_image_windows(Graph graph);

}  // namespace residuum
