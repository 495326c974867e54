// One function per operation that makes it a step of kernels/launch.h, in files named after kernels; fused
// sequences (fusion.h) have theirs beside the operations they end in. A step reads and writes the addresses
// of Bound in the order of its inputs and outputs lists.
#pragma once

#include "engine/backend/cuda/cuda_launch.h"
#include "engine/backend/cuda/fusion.h"

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
  Step step(std::function<void(const Bound&)> enqueue, size_t scratch_bytes = 0) const;
};

template <typename T>
T* as(std::byte* address) {
  return reinterpret_cast<T*>(address);
}

// conv_steps.cpp: convolutions and linear layers
Step make_step(const StepSource& source, const Conv& op);
Step make_step(const StepSource& source, const ConvBackwardData& op);
Step make_step(const StepSource& source, const ConvBackwardFilter& op);
Step make_step(const StepSource& source, const Linear& op);
Step make_step(const StepSource& source, const LinearBackwardData& op);
Step make_step(const StepSource& source, const LinearBackwardFilter& op);

// norm_steps.cpp: batch normalisation and what is fused into it
Step make_step(const StepSource& source, const BatchNormStats& op);
Step make_step(const StepSource& source, const BatchNormApply& op);
Step make_step(const StepSource& source, const BatchNormBackwardReduce& op);
Step make_step(const StepSource& source, const BatchNormBackwardApply& op);
Step make_step(const StepSource& source, const BatchNormFrozenBackward& op);
Step make_fused_apply(const Graph& graph, const Fused& fused, const StepOptions& options);
Step make_fused_reduce(const Graph& graph, const Fused& fused, const StepOptions& options);

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
Step make_step(const StepSource& source, const MaxPool& op);
Step make_step(const StepSource& source, const MaxPoolBackward& op);
Step make_step(const StepSource& source, const AvgPool& op);
Step make_step(const StepSource& source, const AvgPoolBackward& op);
Step make_step(const StepSource& source, const GlobalAvgPool& op);
Step make_step(const StepSource& source, const GlobalAvgPoolBackward& op);

// loss_steps.cpp
Step make_step(const StepSource& source, const SoftmaxCrossEntropy& op);
Step make_step(const StepSource& source, const SoftmaxCrossEntropyBackward& op);

// update_steps.cpp: many tensors in one launch
Step make_step(const StepSource& source, const GradientNorm& op);
Step make_step(const StepSource& source, const AccumulateGradient& op);
Step make_step(const StepSource& source, const SgdUpdate& op);
Step make_step(const StepSource& source, const EmaUpdate& op);
Step make_step(const StepSource& source, const BatchNormCommit& op);

}  // namespace residuum::cuda
