// How the engine asks for a model without knowing any: a function from a request to a forward graph.
#pragma once

#include <functional>

#include "engine/data/image.h"
#include "engine/graph/builder.h"
#include "engine/graph/graph.h"

namespace residuum {

/// What the data and the step decide; everything else about a model is the builder's own.
struct GraphRequest {
  Mode mode = Mode::kTrain;
  int64_t batch = 1;
  ImageShape image;
  int64_t classes = 0;
};

/// Returns a graph with inputs "images" u8 N,H,W,C and "labels" i32 N and outputs "logits", "loss" and
/// "counts".
using ModelBuilder = std::function<Graph(const GraphRequest&)>;

}  // namespace residuum
