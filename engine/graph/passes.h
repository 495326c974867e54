// The passes that turn a forward graph into a training step: pure functions Graph -> Graph, in one ordered
// list, each with a name and an off switch, the graph validated after each.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/graph/group.h"

namespace residuum {

struct UpdateOptions {
  float momentum = 0.9f;
  bool nesterov = false;
  float weight_decay = 0;
  bool decay_norm_and_bias = true;  ///< false: rank-1 parameters (BN gamma and beta, biases) do not decay
  float clip_norm = 0;              ///< 0: no clipping
  float ema_decay = 0;              ///< 0: no averaged weights
  float batch_norm_momentum = 0.1f;
  int accumulation = 1;  ///< micro-steps per optimizer step on this rank
  int ranks = 1;         ///< whose gradients the communicate pass adds
  /// Gradients and batch statistics of the micro-steps are added in pairs, pairs of pairs and so on (then
  /// `accumulation` is a power of two), so that the sum over all ranks' micro-steps has the same bits for any
  /// number of ranks that is a power of two.
  bool in_pairs = false;
  float loss_scale = 1;  ///< of the gradients until SGD divides by it
};

/// What SGD multiplies the sum of all gradients by: 1 / (ranks * accumulation * loss_scale). The true
/// gradient norm is output "norm"[0] times this.
float gradient_scale(const UpdateOptions& options);

/// Appends gradient norm, SGD, EMA and the commit of the running statistics; the gradients are those of
/// differentiate with options.loss_scale. Adds the persistent values "momentum.NAME", with EMA "ema.NAME" and
/// for accumulation > 1 the sums "accumulated.NAME", in pairs "accumulatedLEVEL.NAME"; the output "norm" is
/// {gradient norm, all finite}. With accumulation the running statistics follow each micro-step (as torch's
/// do), unless its loss is not finite; with several ranks, or in pairs, they follow once a step the mean over
/// all micro-steps of all ranks.
Graph append_update(Graph graph, const UpdateOptions& options);

/// Batch norms over the batches of all `ranks` together: their statistics, and the sums that their gradients
/// need, become means over the ranks (AllReduce), the variance by Chan's formula, which cancels nothing. In a
/// graph with its update; each rank must have as many images.
Graph sync_batch_norm(Graph graph, int ranks);

/// Cuts a graph into a backend's groups (Backend::groups).
using GroupRule = std::function<std::vector<Group>(const Graph&)>;

/// What the update reads of a step's gradients and batch statistics becomes the sum over all ranks: AllReduce
/// nodes of buckets (buckets.h; `bucket_bytes` 0: chosen) in the order in which the backward pass makes them,
/// each after the group that makes its last tensor, or reads it last. Sums over micro-steps follow as the
/// first nodes of the update. The last pass: nothing may come between the nodes of a group any more.
Graph communicate(Graph graph, size_t bucket_bytes, const GroupRule& groups);

/// Gives each 1x1 convolution y = W z with at least twice as many output as input channels, whose result only
/// a batch norm with batch statistics reads, the form in which y is not needed but to apply that batch norm:
/// statistics, parameter gradients and the gradient of z follow from z, its Gram matrix and the incoming
/// gradient (Gram, GramStats, GramBackward...). In a graph after autodiff; values keep their ids. Does
/// nothing where no convolution is of that kind.
Graph gram_batch_norm(Graph graph);

/// Activation checkpointing (Chen et al. 2016, 1604.06174): of each block only the output is kept; the nodes
/// before it are repeated just before the block's backward nodes. Batch statistics are kept, so they are not
/// computed twice.
Graph recompute_blocks(Graph graph);

/// Repeats cheap element-wise forward nodes (batch norm apply, ReLU, ...) next to the backward nodes that
/// want their result, when their inputs are kept for the backward pass anyway: less memory, and the result
/// stays in cache.
Graph rematerialize(Graph graph);

/// Writes one bit an element beside the ReLU outputs that ActivationBackward would read again, and reads that
/// (ReluMask, ReluMaskBackward): residual joins above all. A ReLU repeated in the backward pass stays as it
/// is: it costs no memory between the passes, so this runs after rematerialize.
Graph relu_masks(Graph graph);

/// In a graph with an SgdUpdate: convolutions and linear layers on 16-bit activations read a copy of their
/// f32 parameter in the activations' type, a persistent value "copy.NAME" that SGD writes with the parameter.
Graph weight_copies(Graph graph);

/// Whether the launch of node `reader` can form its input `input` itself from what the cheap nodes before it
/// read (a batch norm with or without ReLU, a batch norm's backward pass), so that this tensor need not be in
/// memory; the backend's rule.
using AbsorbRule = std::function<bool(const Graph& graph, NodeId reader, size_t input)>;

/// Gives each reader of a tensor that it can form itself its own copy of the cheap nodes that make it. A
/// forward node gets none when somebody else needs the tensor in memory.
Graph reader_copies(Graph graph, const AbsorbRule& absorbs);

/// Orders the nodes so that those which one launch can compute follow each other: what forms a tensor comes
/// just before its first reader; statistics, sums, residual additions and ReLU gates come right after the
/// node whose result they take.
Graph neighbours(Graph graph);

/// How many layers like that of the ConvBackwardFilter `filter` one launch computes weight gradients of; 1:
/// each its own; the backend's rule.
using LayersRule = std::function<int(const Graph& graph, NodeId filter)>;

/// Brings weight gradients of equal layers together, with the nodes that form what they read, where the last
/// of them was: as many as one launch computes, or as there are in a stage of the net. After neighbours.
Graph equal_filters(Graph graph, const LayersRule& layers);

/// Drops nodes whose results nobody uses.
Graph prune(Graph graph);

struct Pass {
  std::string name, help;
  std::function<Graph(Graph)> run;
  bool needed = false;  ///< without it the step would compute something else
};

/// Runs the passes in order, skipping those named in `off`, and validates the graph after each.
/// Throws Error(kUsage) for a name in `off` that no pass has.
Graph run_passes(Graph graph, const std::vector<Pass>& passes, const std::set<std::string>& off = {});

struct TrainingPassOptions {
  UpdateOptions update = {};
  bool recompute = false;
  /// Brings weight_copies with it: statistics and convolutions must read the same rounded weights.
  bool gram_batch_norm = false;
  bool relu_masks = false;
  bool weight_copies = false;
  AbsorbRule absorbs = {};        ///< empty: launches form nothing themselves
  LayersRule filter_layers = {};  ///< empty: every layer has a launch of its own
  bool sync_batch_norm = false;
  size_t bucket_bytes = 0;  ///< of communicate
  GroupRule groups = {};    ///< of communicate; wanted when update.ranks > 1
};
/// autodiff, update, gram_batch_norm, recompute, rematerialize, relu_masks, weight_copies, sync_batch_norm,
/// reader_copies, neighbours, equal_filters, prune, communicate; those with a flag when it is set,
/// reader_copies, neighbours and equal_filters with their rule, sync_batch_norm and communicate with several
/// ranks.
std::vector<Pass> training_passes(const TrainingPassOptions& options);

}  // namespace residuum
