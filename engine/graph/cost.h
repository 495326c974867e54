// What a node or a launch costs by counting: bytes that must cross memory, floating point operations,
// launches.
#pragma once

#include <cstdint>

#include "engine/graph/graph.h"
#include "engine/graph/group.h"

namespace residuum {

struct Cost {
  int64_t bytes_read = 0, bytes_written = 0;
  int64_t flops = 0;
  int64_t launches = 0;

  int64_t bytes() const { return bytes_read + bytes_written; }
  Cost& operator+=(const Cost& other);
};

/// Multiply-accumulates of a convolution or linear node in any direction, 0 for every other operation.
int64_t node_macs(const Graph& graph, const Node& node);

/// Floating point operations of a node: 2 per multiply-accumulate; for other operations a few per element (op
/// by op in cost.cpp).
int64_t node_flops(const Graph& graph, const Node& node);

/// A node on its own: every input read once, every output (or value updated in place) written once, one
/// launch.
Cost node_cost(const Graph& graph, const Node& node);

/// A group: inputs from outside read once each, outputs that leave it written once, nothing for internal
/// values; one launch.
Cost group_cost(const Graph& graph, const Group& group);

}  // namespace residuum
