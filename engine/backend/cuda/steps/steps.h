// One function per operation that makes it a step of kernels/launch.h, in files named after kernels; fused
// sequences (fusion.h) have theirs beside the operations they end in. A step reads and writes the addresses
// of Bound in the order of its inputs and outputs lists.
#pragma once

#include <concepts>

#include "engine/backend/cuda/fusion/fusion.h"
#include "engine/backend/cuda/fusion/fusion_conv.h"
#include "engine/backend/cuda/launch/cuda_launch.h"
#include "engine/backend/cuda/steps/step_cost.h"
#include "kernels/conv/tiles.h"

namespace residuum::cuda {

/// What a step is made from.
struct StepSource {
  const Graph& graph;
  const Node& node;
  const StepOptions& options;

  const TensorDesc& in(size_t i) const { return graph.desc(node.inputs[i]); }
  const TensorDesc& out(size_t i) const { return graph.desc(node.outputs[i]); }
  /// Throws Error(kDevice) naming the node and the type of a tensor that the kernels do not compute in.
  kernels::Element element(const TensorDesc& desc) const;
  /// The tensor as rows of channels: the last extent is the channels. Throws as element().
  kernels::Rows rows(const TensorDesc& desc) const;
  /// A step on the node's own inputs and outputs.
  Step step(std::function<void(const Bound&)> enqueue, size_t scratch_bytes = 0,
            const Cost& beside = {}) const;
};

template <typename T>
T* as(std::byte* address) {
  return reinterpret_cast<T*>(address);
}

/// Position in a step's list of inputs or outputs of an operand that it has not.
inline constexpr size_t kAbsent = ~size_t{0};

/// Lists the inputs or the outputs of a step.
class Operands {
 public:
  explicit Operands(std::vector<ValueId> ids = {}) : ids_(std::move(ids)) {}
  size_t add(ValueId id) {
    ids_.push_back(id);
    return ids_.size() - 1;
  }
  /// Input `input` of a node, or kAbsent without one.
  size_t add(const Node* node, size_t input) { return node == nullptr ? kAbsent : add(node->inputs[input]); }
  /// Output `output` of a node, or kAbsent without one.
  size_t add_output(const Node* node, size_t output) {
    return node == nullptr ? kAbsent : add(node->outputs[output]);
  }
  std::vector<ValueId> ids() const { return ids_; }

 private:
  std::vector<ValueId> ids_;
};

/// The address at a position; null for kAbsent.
inline std::byte* at(const std::vector<std::byte*>& addresses, size_t position) {
  return position == kAbsent ? nullptr : addresses[position];
}

// conv_steps.cpp: convolutions and linear layers, with what is fused around them
Step make_conv_step(const Graph& graph, const std::vector<ConvParts>& run, const StepOptions& options);
/// The tiles beside the usual one that it can run with, but for those that are far smaller.
std::vector<kernels::TileName> other_tiles(const Graph& graph, const std::vector<ConvParts>& run,
                                           const StepOptions& options);
template <typename Op>
concept IsProduct = std::same_as<Op, Conv> || std::same_as<Op, ConvBackwardData> ||
    std::same_as<Op, ConvBackwardFilter> || std::same_as<Op, Linear> ||
    std::same_as<Op, LinearBackwardData> || std::same_as<Op, LinearBackwardFilter> || std::same_as<Op, Gram>;
template <IsProduct Op>
Step make_step(const StepSource& source, const Op&) {
  return make_conv_step(source.graph, {{.conv = &source.node, .length = 1}}, source.options);
}

// norm_steps.cpp: batch normalisation and what is fused into it
Step make_step(const StepSource& source, const BatchNormStats& op);
Step make_step(const StepSource& source, const BatchNormApply& op);
Step make_step(const StepSource& source, const BatchNormBackwardReduce& op);
Step make_step(const StepSource& source, const BatchNormBackwardApply& op);
Step make_step(const StepSource& source, const BatchNormFrozenBackward& op);
Step make_fused_apply(const Graph& graph, const Fused& fused, const StepOptions& options);
Step make_fused_reduce(const Graph& graph, const Fused& fused, const StepOptions& options);
Step make_fused_backward_apply(const Graph& graph, const Fused& fused, const StepOptions& options);

// row_steps.cpp: element by element, and whole channels moved
Step make_step(const StepSource& source, const CropFlip& op);
Step make_step(const StepSource& source, const Normalize& op);
Step make_fused_window(const Graph& graph, const Fused& fused, const StepOptions& options);
Step make_step(const StepSource& source, const Bias& op);
Step make_step(const StepSource& source, const BiasBackward& op);
Step make_step(const StepSource& source, const Activation& op);
Step make_step(const StepSource& source, const ActivationBackward& op);
Step make_step(const StepSource& source, const ReluMask& op);
Step make_step(const StepSource& source, const ReluMaskBackward& op);
Step make_step(const StepSource& source, const Add& op);
Step make_step(const StepSource& source, const Multiply& op);
Step make_step(const StepSource& source, const Scale& op);
Step make_step(const StepSource& source, const Dropout& op);
Step make_step(const StepSource& source, const BlockGate& op);
Step make_step(const StepSource& source, const ShortcutA& op);
Step make_step(const StepSource& source, const ShortcutABackward& op);
Step make_step(const StepSource& source, const Concat& op);
Step make_step(const StepSource& source, const Slice& op);
Step make_step(const StepSource& source, const SliceBackward& op);

// pool_steps.cpp
/// In inference nobody reads a max pool's argmax, and it has no address: the kernel then writes it to
/// scratch.
size_t argmax_scratch_bytes(const Graph& graph, const Node& pool);
uint8_t* pool_argmax(const Bound& bound);
/// Besides the inputs and outputs of a step that ends in `pool`.
Cost max_pool_cost(const Graph& graph, const Node& pool, const PoolShape& shape);
Step make_step(const StepSource& source, const MaxPool& op);
Step make_step(const StepSource& source, const MaxPoolBackward& op);
Step make_step(const StepSource& source, const AvgPool& op);
Step make_step(const StepSource& source, const AvgPoolBackward& op);
Step make_step(const StepSource& source, const GlobalAvgPool& op);
Step make_step(const StepSource& source, const GlobalAvgPoolBackward& op);

// loss_steps.cpp
Step make_loss_step(const Graph& graph, const Fused& fused, const StepOptions& options);
Step make_step(const StepSource& source, const SoftmaxCrossEntropy& op);
Step make_step(const StepSource& source, const SoftmaxCrossEntropyBackward& op);

// gram_steps.cpp: a batch norm after a 1x1 convolution, from sums over the convolution's input (the Gram
// matrix itself is a product of conv_steps.cpp)
Step make_step(const StepSource& source, const GramStats& op);
Step make_step(const StepSource& source, const GramBackwardReduce& op);
Step make_step(const StepSource& source, const GramBackwardFilter& op);
Step make_step(const StepSource& source, const GramBackwardWeight& op);

// update_steps.cpp: many tensors in one launch
Step make_step(const StepSource& source, const GradientNorm& op);
Step make_step(const StepSource& source, const AccumulateGradient& op);
Step make_step(const StepSource& source, const AllReduce& op);
Step make_step(const StepSource& source, const SgdUpdate& op);
Step make_step(const StepSource& source, const EmaUpdate& op);
Step make_step(const StepSource& source, const BatchNormCommit& op);
Step make_fused_update(const Graph& graph, const Fused& fused, const StepOptions& options);

}  // namespace residuum::cuda
