// Surgery on forward graphs: pure functions Graph -> Graph that take nets apart. What they return is an
// ordinary graph for the ordinary passes, plan and executor of any backend. Invariant: names and shapes of
// persistent values stay as they are, so an operated net reads the state of the whole one.
#pragma once

#include "engine/graph/graph.h"
#include "engine/lab/structure.h"

namespace residuum {

/// Every reader of `from`, block and named output reads `to` instead; precondition: `to` is produced before
/// `from` and has its descriptor.
Graph replace_value(Graph graph, ValueId from, ValueId to);

/// Deletes a block (Veit 2016): its output is its input, bit for bit. Where the shapes differ (as in
/// a down-sampling block) its branch is deleted and the shortcut stays; of a densely connected block the
/// channels it appends are zeros. Throws Error(kConfig) naming the block where neither can be: a
/// down-sampling block of a plain net.
Graph delete_block(Graph graph, int block);
/// Whether delete_block can.
bool can_delete(const Graph& graph, int block);

/// Deletes a layer of a plain net, weights, batch norm and activation: its output is its input. Throws
/// Error(kConfig) naming the layer when the two have different shapes.
Graph delete_layer(Graph graph, const Layer& layer);

/// Whether two blocks are made of the same operations on the same shapes.
bool equal_blocks(const Graph& graph, int a, int b);

/// Exchanges two equal blocks: each computes with the other's weights, statistics and attributes, in the
/// other's place. Throws Error(kConfig) naming blocks that are not equal. Twice gives the graph back.
Graph swap_blocks(Graph graph, int a, int b);

/// Forces the gate of a highway block shut: T is exactly 0 and the carry gate 1, so that y = H T + x C is x.
/// Throws Error(kConfig) naming a block without gates.
Graph close_gates(Graph graph, int block);

/// Opens the blocks that work in some steps only (BlockGate) in every one: their branches are scaled by the
/// share of the steps, as in an evaluation.
Graph open_blocks(Graph graph);

}  // namespace residuum
