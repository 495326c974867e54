// Naive references of every operation of engine/graph/op.h: the definition written as plain loops in double
// precision. Invariant: nothing here shares code with a backend, and no loop is reordered for speed. Backward
// references come from the mathematical definition and are themselves checked by finite differences
// (reference_gradient_test.cpp).
#pragma once

#include <span>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/graph/op.h"

namespace residuum::reference {

/// A dense tensor of doubles; integer tensors (labels, counts, argmax) hold their values as doubles.
struct Tensor {
  Shape shape;
  std::vector<double> data;

  Tensor() = default;
  explicit Tensor(Shape s) : shape(s), data(static_cast<size_t>(s.elements()), 0.0) {}
  Tensor(Shape s, std::vector<double> values) : shape(s), data(std::move(values)) {}

  double& operator[](int64_t i) { return data[static_cast<size_t>(i)]; }
  double operator[](int64_t i) const { return data[static_cast<size_t>(i)]; }
  /// Element of a rank 4 tensor.
  double& at(int64_t a, int64_t b, int64_t c, int64_t d) {
    return (*this)[((a * shape[1] + b) * shape[2] + c) * shape[3] + d];
  }
  double at(int64_t a, int64_t b, int64_t c, int64_t d) const {
    return (*this)[((a * shape[1] + b) * shape[2] + c) * shape[3] + d];
  }
  int64_t elements() const { return shape.elements(); }
  /// The last extent: channels.
  int64_t channels() const { return shape[shape.rank() - 1]; }
  /// All but the last extent: pixels.
  int64_t rows() const { return elements() / channels(); }
};

using Tensors = std::vector<Tensor>;

// reference_conv.cpp
Tensor conv(const Conv& op, const Tensor& src, const Tensor& weight);
Tensor conv_backward_data(const ConvShape& shape, const Tensor& d_dst, const Tensor& weight);
Tensor conv_backward_filter(const ConvShape& shape, const Tensor& d_dst, const Tensor& src);
Tensor linear(const Tensor& src, const Tensor& weight);
Tensor linear_backward_data(const Tensor& d_dst, const Tensor& weight, const Shape& src);
Tensor linear_backward_filter(const Tensor& d_dst, const Tensor& src);

// reference_elementwise.cpp
Tensor crop_flip(const CropFlip& op, const Tensor& images, const Tensor& windows);
Tensor normalize(const Normalize& op, const Tensor& images);
Tensor bias(const Tensor& src, const Tensor& bias_values);
Tensor bias_backward(const Tensor& d_dst);
Tensor activation(ActivationKind kind, const Tensor& src);
Tensor activation_backward(ActivationKind kind, const Tensor& d_dst, const Tensor& dst);
Tensors relu_mask(const Tensor& src);
Tensor relu_mask_backward(const Tensor& d_dst, const Tensor& mask);
Tensor add(const Tensor& a, const Tensor& b);
Tensor multiply(const Tensor& a, const Tensor& b);
Tensor scale(const Scale& op, const Tensor& src);
Tensor dropout(const Dropout& op, const Tensor& src, const StepParams& params);
Tensor block_gate(const BlockGate& op, const Tensor& src, const StepParams& params);

// reference_norm.cpp
Tensors batch_norm_stats(const Tensor& src);
Tensor batch_norm_apply(double epsilon, const Tensor& src, const Tensor& mean, const Tensor& variance,
                        const Tensor& gamma, const Tensor& beta);
Tensors batch_norm_backward_reduce(double epsilon, const Tensor& d_dst, const Tensor& src, const Tensor& mean,
                                   const Tensor& variance);
Tensor batch_norm_backward_apply(double epsilon, const Tensor& d_dst, const Tensor& src, const Tensor& mean,
                                 const Tensor& variance, const Tensor& gamma, const Tensor& d_gamma,
                                 const Tensor& d_beta);
Tensor batch_norm_frozen_backward(double epsilon, const Tensor& d_dst, const Tensor& variance,
                                  const Tensor& gamma);

// reference_channels.cpp
Tensor shortcut_a(const ShortcutA& op, const Tensor& src);
Tensor shortcut_a_backward(const ShortcutA& op, const Tensor& d_dst, const Shape& src);
Tensor concat(std::span<const Tensor* const> parts);
Tensor slice(const Slice& op, const Tensor& src);
Tensor slice_backward(const Slice& op, const Tensor& d_dst, const Shape& src);

// reference_pool.cpp
Tensors max_pool(const MaxPool& op, const Tensor& src);
Tensor max_pool_backward(const PoolShape& shape, const Tensor& d_dst, const Tensor& argmax);
Tensor avg_pool(const AvgPool& op, const Tensor& src);
Tensor avg_pool_backward(const PoolShape& shape, const Tensor& d_dst);
Tensor global_avg_pool(const Tensor& src);
Tensor global_avg_pool_backward(const Tensor& d_dst, const Shape& src);

// reference_loss.cpp
Tensors softmax_cross_entropy(double smoothing, const Tensor& logits, const Tensor& labels);
Tensor softmax_cross_entropy_backward(const SoftmaxCrossEntropyBackward& op, const Tensor& logits,
                                      const Tensor& labels);

// reference_gram.cpp: a batch norm after a 1x1 convolution, from sums over the convolution's input
Tensors gram(const Tensor& src);
Tensors gram_stats(const GramStats& op, const Tensor& gram, const Tensor& sum, const Tensor& weight);
Tensor gram_backward_reduce(const GramBackwardReduce& op, std::span<const Tensor* const> in);
Tensor gram_backward_filter(const GramBackwardFilter& op, std::span<const Tensor* const> in);
Tensors gram_backward_weight(const GramBackwardWeight& op, std::span<const Tensor* const> in);

// reference_update.cpp: these change persistent values in place.
Tensor gradient_norm(std::span<const Tensor* const> gradients);
void accumulate_gradient(const AccumulateGradient& op, std::span<Tensor* const> gradients_then_sums,
                         const StepParams& params);
/// Of a single rank.
Tensors all_reduce(const AllReduce& op, std::span<const Tensor* const> in);
void sgd_update(const SgdUpdate& op, std::span<Tensor* const> in, const StepParams& params);
void ema_update(const EmaUpdate& op, std::span<Tensor* const> in);
void batch_norm_commit(const BatchNormCommit& op, std::span<Tensor* const> in);

/// The outputs of any operation; update operations change `in` and return nothing.
Tensors evaluate(const Op& op, std::span<Tensor* const> in, const StepParams& params);

}  // namespace residuum::reference
