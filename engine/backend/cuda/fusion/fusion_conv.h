// The nodes around a convolution that its kernel computes too: those that form the tensors it reads, and what
// becomes of its result (ConvSource and ConvResult of kernels/launch.h).
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cuda/fusion/matching.h"
#include "kernels/launch.h"

namespace residuum::cuda {

/// A run of nodes that one launch of a convolution, linear layer or Gram matrix computes, in their order;
/// absent ones are null.
struct ConvParts {
  const Node* gradient = nullptr;  ///< batch_norm_backward_apply that forms d_dst
  const Node* apply = nullptr;     ///< batch_norm_apply that forms src, alone or as one side of `join`
  const Node* shortcut = nullptr;  ///< batch_norm_apply of the other side
  const Node* join = nullptr;      ///< add
  const Node* relu = nullptr;      ///< relu or relu_mask
  const Node* concat = nullptr;    ///< of a stored tensor and of what `relu`, `apply` or memory gives

  const Node* conv = nullptr;  ///< conv, linear or one of their backward passes, or gram

  const Node* bias = nullptr;
  const Node* result_apply = nullptr;                      ///< batch_norm_apply of the result
  const Node* addend_apply = nullptr;                      ///< batch_norm_apply that forms the addend
  const Node* addend = nullptr;                            ///< add
  const Node* result_relu = nullptr;                       ///< relu or relu_mask
  const Node *gate_apply = nullptr, *gate_relu = nullptr;  ///< repeated for the gate
  const Node* gate = nullptr;                              ///< relu_backward or relu_mask_backward
  const Node* stats = nullptr;
  std::array<const Node*, 2> reduces = {};  ///< batch_norm_backward_reduce; the first is the gate's
  const Node* bias_backward = nullptr;      ///< of d_dst, beside a backward-filter pass
  size_t length = 0;                        ///< nodes; 0: there is no convolution here

  /// The tensor that `join`, `relu` or `apply` gives to conv; kNone when conv reads a stored one.
  ValueId formed() const;
  /// The result up to the batch norm, without addend, ReLU and gate.
  ValueId before_addend() const;
  /// The value that the launch stores.
  ValueId result() const;
};

/// Whether conv_backward_filter computes the operation: a sum over pixels of products.
bool is_filter(const Op& op);

/// What one launch computes from `first` on, of at most `limit` nodes: the longest such run, or several that
/// are the weight gradients of equal layers, one after the other; empty when there is no convolution.
std::vector<ConvParts> conv_parts(const Matching& matching, NodeId first, size_t limit);
/// Nodes of all runs.
size_t length_of(const std::vector<ConvParts>& run);

/// The element type of the kernels for activations of `type`; nothing when they do not compute in it.
std::optional<kernels::Element> element_of(DType type);

/// The convolution of a node, of f32 activations with `math`; nothing when it is none, or is in a type that
/// the kernels do not compute in.
std::optional<kernels::ConvProblem> conv_problem(const Graph& graph, const Node& node,
                                                 kernels::F32Math math = kernels::F32Math::kTf32x3);

/// The AbsorbRule of the CUDA backend.
bool absorbs(const Graph& graph, NodeId reader, size_t input, const std::set<std::string>& off);
/// Its LayersRule.
int filter_layers(const Graph& graph, NodeId filter, const std::set<std::string>& off);

std::vector<FusionKind> conv_fusion_kinds();

}  // namespace residuum::cuda
