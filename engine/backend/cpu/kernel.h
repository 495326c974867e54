// A node compiled for the CPU. A group of nodes runs in three phases with a barrier after each:
//   prepare   tasks over the weights (packing into the layout a primitive wants)
//   shard     the batch is cut into a fixed number of shards; one thread runs every node of the group on
//             one shard, so a shard's intermediate values stay in that core's cache; sums over the batch go
//             to one partial per shard
//   finish    tasks that add the partials in shard order
// The number of shards depends on the batch alone, never on the threads: results have the same bits for any
// number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/backend/backend.h"

namespace residuum::cpu {

/// Shards a batch of `n` images is cut into.
int shard_count(int64_t n);

/// Rows [first, first + count) of the batch.
struct ShardRange {
  int index = 0;
  int64_t first = 0, count = 0;
};
ShardRange shard_range(int64_t n, int shards, int index);

/// Everything a kernel sees while it works on one shard.
struct ShardContext {
  ShardRange range;
  const StepParams* params = nullptr;
  /// Addresses of the node's inputs and outputs: a batch value's address is that of the shard's first row,
  /// any other value's that of its first element.
  std::span<std::byte*const> in, out;
  std::byte* thread_scratch = nullptr;  ///< thread_scratch_bytes() of this thread
};

class Kernel {
 public:
  virtual ~Kernel() = default;

  /// Temporary bytes per thread during the shard phase.
  virtual size_t thread_scratch_bytes() const { return 0; }
  /// Temporary bytes shared by all threads from prepare to finish: packed weights, partial sums.
  virtual size_t shared_scratch_bytes() const { return 0; }
  /// Called once: the whole node's addresses (null for values internal to the group) and the shared scratch.
  virtual void bind(std::span<std::byte* const> in, std::span<std::byte* const> out,
                    std::byte* shared_scratch) = 0;

  virtual int prepare_tasks() const { return 0; }
  virtual void prepare(int /*task*/, const StepParams&) {}
  virtual void shard(const ShardContext& context) = 0;
  virtual int finish_tasks() const { return 0; }
  virtual void finish(int /*task*/, const StepParams&) {}
};

/// What a kernel is made from.
struct KernelSource {
  const Graph& graph;
  const Node& node;
  int64_t batch;  ///< rows of the batch values, 1 for OpDomain::kWhole
  int shards;
  bool relu = false;  ///< batch norms only: the step includes a ReLU (fused.h)

  const TensorDesc& in(size_t i) const { return graph.desc(node.inputs[i]); }
  const TensorDesc& out(size_t i) const { return graph.desc(node.outputs[i]); }
  /// Rows (N*H*W...) of one image and channels of a value: every element-wise kernel sees [rows, channels].
  static int64_t rows_per_image(const TensorDesc& desc);
  /// A vector is a batch of numbers: one channel.
  static int64_t channels(const TensorDesc& desc) {
    return desc.shape.rank() == 1 ? 1 : desc.shape[desc.shape.rank() - 1];
  }
};

std::unique_ptr<Kernel> make_kernel(const KernelSource& source);

// Factories, each in the file of its name (those of convolutions in conv.cpp); make_kernel picks one by the
// node's operation.
std::unique_ptr<Kernel> make_conv(const KernelSource&);
std::unique_ptr<Kernel> make_conv_backward_data(const KernelSource&);
std::unique_ptr<Kernel> make_conv_backward_filter(const KernelSource&);
std::unique_ptr<Kernel> make_linear(const KernelSource&);       // and its backward passes
std::unique_ptr<Kernel> make_batch_norm(const KernelSource&);   // every batch_norm_* but the commit
std::unique_ptr<Kernel> make_elementwise(const KernelSource&);  // normalize, bias, activations, add, ...
std::unique_ptr<Kernel> make_crop_flip(const KernelSource&);
std::unique_ptr<Kernel> make_relu_mask(const KernelSource&);  // both ways
std::unique_ptr<Kernel> make_channels(const KernelSource&);   // shortcut_a, concat, slice and backward
std::unique_ptr<Kernel> make_pool(const KernelSource&);       // max, average, global average, both ways
std::unique_ptr<Kernel> make_softmax_loss(const KernelSource&);
std::unique_ptr<Kernel> make_gram(const KernelSource&);    // every gram_*
std::unique_ptr<Kernel> make_update(const KernelSource&);  // updates of parameters

}  // namespace residuum::cpu
