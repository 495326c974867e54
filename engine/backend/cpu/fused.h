// Steps of a launch: nodes of a group that one kernel runs in one sweep over the data. Only values nobody
// else reads may disappear inside a step, so the bits are those of the single nodes except that what
// disappears is never rounded to bf16.
#pragma once

#include <vector>

#include "engine/graph/graph.h"
#include "engine/graph/group.h"

namespace residuum::cpu {

enum class StepKind : uint8_t {
  kNode,        ///< one node as it is
  kApply,       ///< batch_norm_apply [-> add] [-> relu]: inputs of the apply, then the other addend
  kReluReduce,  ///< [add ->] relu_backward -> batch_norm_backward_reduce: inputs d_a, src, mean, variance, z
                ///< [, d_b]
};

struct Step {
  StepKind kind = StepKind::kNode;
  NodeId node = kNone;  ///< kNode: it; kApply: the batch_norm_apply; kReluReduce: the reduce
  bool relu = false;    ///< kApply: ends with a ReLU
  std::vector<ValueId> inputs, outputs;
};

/// The group's nodes as steps, in an order in which every step finds its inputs.
std::vector<Step> fuse_steps(const Graph& graph, const Group& group);

}  // namespace residuum::cpu
