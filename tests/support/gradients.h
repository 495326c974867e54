// What tests of passes over training graphs share: a net with its backward pass, and whether two graphs
// compute the same gradients.
#pragma once

#include <string_view>

#include "engine/graph/graph.h"

namespace residuum {

/// A model of the zoo at batch 2 on 8x8 images with its backward pass, every gradient an output; with
/// `repeat` after the rematerialize pass.
Graph differentiated(const char* model, bool repeat);

/// How many nodes have the operation called `op`.
int64_t count(const Graph& graph, std::string_view op);

/// Evaluates both by the references, in double, from the same random values: equal gradients, bit for bit.
void expect_same_gradients(const Graph& expected, const Graph& found);

}  // namespace residuum
