// A group of nodes as one CPU launch: the three phases of kernel.h over a thread pool, with the group's
// internal values in per-thread scratch that the nodes of the group share by lifetime.
#pragma once

#include <memory>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/fused.h"
#include "engine/backend/cpu/kernel.h"
#include "engine/backend/cpu/thread_pool.h"

namespace residuum::cpu {

/// Rows of the batch a node works on; 1 for OpDomain::kWhole.
int64_t batch_of(const Graph& graph, const Node& node);

/// Pieces a node's work is cut into when it is alone in a launch. Fewer than shard_count for weight gradients
/// so large that one partial per shard would cost more than the spread of work gains.
int pieces_of(const Graph& graph, const Node& node);

class CpuLaunch : public Launch {
 public:
  CpuLaunch(const Graph& graph, const Group& group, ThreadPool& pool);

  size_t scratch_bytes() const override;
  void bind(std::span<std::byte* const> addresses, std::byte* scratch) override;
  void run(const StepParams& params) override;
  Cost cost() const override { return cost_; }
  /// "onednn" when it has a convolution or linear layer in it.
  std::string implementation() const override { return onednn_ ? "onednn" : "own"; }

 private:
  /// Where a shard finds an operand: base + first row * row_bytes, or a place in the thread's scratch.
  struct Operand {
    ValueId id = kNone;
    std::byte* base = nullptr;
    size_t row_bytes = 0;  ///< 0: the whole tensor, for every shard
    size_t internal_offset = 0;
    bool internal = false;
  };
  struct BoundStep {
    std::unique_ptr<Kernel> kernel;
    std::vector<Operand> in, out;
  };
  struct Task {
    Kernel* kernel;
    int task;
  };

  BoundStep make_step(const Graph& graph, const Step& step) const;
  void plan_internals(const Graph& graph, const Group& group);
  void run_shard(int shard, int thread, const StepParams& params);

  ThreadPool& pool_;
  Cost cost_;
  bool onednn_ = false;
  int64_t batch_ = 1;
  int shards_ = 1;
  std::vector<BoundStep> steps_;
  std::vector<Task> prepare_, finish_;
  std::vector<std::vector<std::byte*>> pointers_;  ///< per thread: room for one node's operand addresses
  size_t internal_bytes_ = 0, kernel_scratch_bytes_ = 0, shared_bytes_ = 0;
  std::byte* thread_scratch_ = nullptr;
};

}  // namespace residuum::cpu
