// The closed set of operations: one small attribute struct each, in one variant.
// Adding an operation = one struct here, its shape rule (shape_rule.cpp), its gradient rule (autodiff.cpp),
// its cost (cost.cpp), one function per backend, one naive reference in tests/reference/reference.h. Notation
// of the comments: (inputs) -> (outputs), activations N,H,W,C, vectors C. "d_x" is the loss gradient of x.
#pragma once

#include <cstddef>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/core/tensor.h"
#include "kernels/philox.h"
#include "kernels/shapes.h"

namespace residuum {

// ---- forward

/// (images u8 N,H,W,C; windows i32 N,3) -> (dst u8 N,height,width,C): of image n the window whose corner is
/// row windows[n][0], column windows[n][1], black outside of the image; mirrored left to right where
/// windows[n][2] is not 0.
struct CropFlip {
  int64_t height = 1, width = 1;
};
/// (images u8 N,H,W,C) -> (dst): (images / 255 - mean[c]) / std[c].
struct Normalize {
  std::vector<float> mean, std;
  DType dtype = DType::kF32;
};
/// (src, weight K,R,S,C/groups) -> (dst N,P,Q,K); zero padding, no bias. The weight is f32 or of src's type,
/// here and in Linear and their gradients.
struct Conv {
  int64_t out_channels = 0, kernel_h = 1, kernel_w = 1, stride = 1, pad = 0, groups = 1;
};
/// (src, bias C) -> (dst): src + bias per channel.
struct Bias {};
/// (src) -> (mean C, variance C), f32, over N,H,W; the variance is biased (divided by N*H*W).
struct BatchNormStats {};
/// (src, mean C, variance C, gamma C, beta C) -> (dst): gamma * (src - mean) / sqrt(variance + epsilon) +
/// beta.
struct BatchNormApply {
  float epsilon = 1e-5f;
};
enum class ActivationKind : uint8_t { kRelu, kSigmoid, kTanh };
/// (src) -> (dst), element by element.
struct Activation {
  ActivationKind kind = ActivationKind::kRelu;
};
/// (src) -> (dst, mask u8 N,H,W,ceil(C/8)): ReLU and one bit an element, bit c % 8 of byte c / 8, which is 0
/// where dst <= 0 and 1 elsewhere: a NaN lets its gradient pass, as in ActivationBackward. Bits past C are 0.
struct ReluMask {};
/// (a, b) -> (a + b), equal shapes.
struct Add {};
/// (a, b) -> (a * b), element by element, equal shapes.
struct Multiply {};
/// (src) -> (factor * src + offset).
struct Scale {
  float factor = 1, offset = 0;
};
/// Where the option-A shortcut puts the new zero channels: half on each side (akamaster) or all at the end
/// (fb.resnet.torch).
enum class ZeroChannels : uint8_t { kBothSides, kEnd };
/// (src) -> (dst N,ceil(H/stride),ceil(W/stride),out_channels): every stride-th pixel, new channels zero (He
/// 2015, option A).
struct ShortcutA {
  int64_t stride = 1, out_channels = 0;
  ZeroChannels zeros = ZeroChannels::kBothSides;
};
/// (a, b, ...) -> (dst): along channels.
struct Concat {};
/// (src) -> (dst N,H,W,channels): the channels [first, first + channels).
struct Slice {
  int64_t first = 0, channels = 0;
};
/// (src) -> (dst, argmax u8): padding never wins; argmax is the position r * window + s inside the window.
struct MaxPool {
  int64_t window = 1, stride = 1, pad = 0;
};
/// (src) -> (dst): the mean over the window, padding counted as zeros (torch's default).
struct AvgPool {
  int64_t window = 1, stride = 1, pad = 0;
};
/// (src) -> (dst N,1,1,C): the mean over H,W.
struct GlobalAvgPool {};
/// (src N,..., weight K,C) -> (dst N,K) with C the product of the other extents of src; no bias (see Bias).
struct Linear {
  int64_t out_features = 0;
  DType dtype = DType::kF32;
};
/// (src) -> (dst): zero with probability p, else src / (1 - p). The mask is Philox(seed, step, stream): it is
/// never stored, so the same operation applied to d_dst is the gradient.
struct Dropout {
  float probability = 0.5f;
  uint32_t stream = 0;
};
/// (src) -> (dst): src in the steps in which the block's gate is open, else zeros, for the whole batch alike
/// (stochastic depth, Huang 2016). Like Dropout it is its own gradient.
struct BlockGate {
  BlockDraw draw;
};
/// (logits f32 N,K; labels i32 N) -> (loss f32 1, counts i32 3): mean cross-entropy over the rows whose label
/// is not negative, and how many rows are {valid, right in the top 1, right in the top 5}. Smoothing as in
/// torch.
struct SoftmaxCrossEntropy {
  float smoothing = 0;
};

// ---- backward

/// (d_dst, weight) -> (d_src).
struct ConvBackwardData {
  ConvShape shape;
};
/// (d_dst, src) -> (d_weight f32 K,R,S,C/groups).
struct ConvBackwardFilter {
  ConvShape shape;
};
/// (d_dst) -> (d_bias f32 C): the sum over all but the last extent.
struct BiasBackward {};
/// (d_dst, src, mean, variance) -> (d_gamma C, d_beta C), f32.
struct BatchNormBackwardReduce {
  float epsilon = 1e-5f;
};
/// (d_dst, src, mean, variance, gamma, d_gamma, d_beta) -> (d_src) where mean and variance came from src
/// itself.
struct BatchNormBackwardApply {
  float epsilon = 1e-5f;
};
/// (d_dst, mean, variance, gamma) -> (d_src) where mean and variance are constants (running statistics);
/// `mean` is unused but keeps the input list aligned with the forward one.
struct BatchNormFrozenBackward {
  float epsilon = 1e-5f;
};
/// (d_dst, dst) -> (d_src).
struct ActivationBackward {
  ActivationKind kind = ActivationKind::kRelu;
};
/// (d_dst, mask) -> (d_src): d_dst where the mask of ReluMask has a 1, else 0.
struct ReluMaskBackward {};
/// (d_dst) -> (d_src), the adjoint of ShortcutA; `src` is the forward input's shape.
struct ShortcutABackward {
  ShortcutA forward;
  Shape src;
};
/// (d_dst N,H,W,channels) -> (d_src N,H,W,C), zero outside the slice.
struct SliceBackward {
  Slice forward;
  Shape src;
};
/// (d_dst, argmax) -> (d_src).
struct MaxPoolBackward {
  PoolShape shape;
};
/// (d_dst) -> (d_src).
struct AvgPoolBackward {
  PoolShape shape;
};
/// (d_dst N,1,1,C) -> (d_src N,H,W,C).
struct GlobalAvgPoolBackward {
  Shape src;
};
/// (d_dst N,K; weight K,C) -> (d_src).
struct LinearBackwardData {
  TensorDesc src;
};
/// (d_dst N,K; src) -> (d_weight f32 K,C).
struct LinearBackwardFilter {};
/// (logits, labels) -> (d_logits): scale * (softmax - target) / valid rows; zero for rows with a negative
/// label.
struct SoftmaxCrossEntropyBackward {
  float smoothing = 0;
  float scale = 1;  ///< of the loss: keeps gradients in the range of f16; SgdUpdate::gradient_scale undoes it
};

// ---- a batch norm after a 1x1 convolution y = W z, from sums over its input z (gram_batch_norm pass)
// W is the weight K,1,1,C, f32 or a 16-bit copy; `pixels` M is the number of pixels z; covariance = gram / M
// - sum sum^T / M^2; inv_k = 1 / sqrt(variance_k + epsilon); g is the gradient that reaches the batch norm.

/// (src) -> (gram C,C; sum C), f32: the sums of z z^T and of z over the pixels z of src.
struct Gram {};
/// (gram, sum, weight) -> (mean K, variance K, weighted K,1,1,C), f32: mean_k = w_k sum / M, weighted = W
/// covariance, variance_k = weighted_k w_k^T, never below 0.
struct GramStats {
  int64_t pixels = 0;
};
/// (product f32 K,1,1,C; weight, mean, variance, d_beta) -> (d_gamma K), product = sum g z^T: d_gamma_k =
/// inv_k (sum_c weight_kc product_kc - mean_k d_beta_k).
struct GramBackwardReduce {
  float epsilon = 1e-5f;
};
/// (product, weighted, sum, variance, gamma, d_gamma, d_beta) -> (d_weight f32 K,1,1,C): row k is gamma_k
/// inv_k (product_k - d_beta_k sum^T / M - inv_k d_gamma_k weighted_k).
struct GramBackwardFilter {
  int64_t pixels = 0;
  float epsilon = 1e-5f;
};
/// (weight, sum, variance, gamma, d_gamma, d_beta) -> (folded of `dtype` K+C,1,1,C; offset f32 C): the
/// gradient of z is [g | z] folded + offset, folded = [diag(a) W ; W^T diag(b) W] with a_k = gamma_k inv_k
/// and b_k = -a_k inv_k d_gamma_k / M. That gradient has mean 0, so offset = -[d_beta | sum] folded / M,
/// where folded is as stored: its rounding does not shift the gradient.
struct GramBackwardWeight {
  int64_t pixels = 0;
  float epsilon = 1e-5f;
  DType dtype = DType::kF32;
};

// ---- update: the last nodes of a training step; they change persistent values in place

/// (d_0, d_1, ...) -> (norm f32 2): {L2 norm over all gradients, 1 if every gradient is finite else 0}.
struct GradientNorm {};
/// (g_i..., acc_i...) -> (): acc = g on micro-steps with no bit of `restart`, acc += g on the others; nothing
/// on those without all bits of `when`. By default that sums a step's micro-steps one after the other.
struct AccumulateGradient {
  uint32_t restart = ~uint32_t{0}, when = 0;
};
/// (x_0, x_1, ...) -> (y_0, y_1, ...), f32: y_i = factor * the sum of x_i over all ranks, where x_i was: what
/// reads x_i comes before. Run by the executor's exchange and not by a backend.
struct AllReduce {
  float factor = 1;
};
/// (norm, w_i..., m_i..., g_i..., c_k...) -> (): with s = gradient_scale, g = g * s * min(1, clip_norm /
/// (norm * s)) + weight_decay_i w; m = momentum m + g; w -= lr (nesterov ? g + momentum m : m); c_k = w of
/// copy_of[k], rounded to c_k's type; nothing changes when norm[1] is 0. The learning rate is a step
/// parameter (torch's SGD, not Caffe's).
struct SgdUpdate {
  float momentum = 0.9f;
  bool nesterov = false;
  float clip_norm = 0;                ///< 0: no clipping
  float gradient_scale = 1;           ///< 1 / (accumulation steps * loss scale)
  std::vector<float> weight_decay;    ///< one a weight
  std::vector<int64_t> copy_of = {};  ///< which weight each 16-bit copy belongs to
};
/// (norm, w_i..., e_i...) -> (): e = decay e + (1 - decay) w, when norm[1] is not 0.
struct EmaUpdate {
  float decay = 0.999f;
};
/// (norm, mean_i..., variance_i..., running_mean_i..., running_variance_i...) -> (): running = (1 - momentum)
/// running + momentum scale batch, the variance unbiased by counts_i / (counts_i - 1); nothing changes when
/// norm[1] is 0.
struct BatchNormCommit {
  float momentum = 0.1f;
  float scale = 1;  ///< 1 / how many batches' statistics were added
  std::vector<int64_t> counts;
};

using OpKinds =
    std::variant<CropFlip, Normalize, Conv, Bias, BatchNormStats, BatchNormApply, Activation, ReluMask, Add,
                 Multiply, Scale, ShortcutA, Concat, Slice, MaxPool, AvgPool, GlobalAvgPool, Linear, Dropout,
                 BlockGate, SoftmaxCrossEntropy, ConvBackwardData, ConvBackwardFilter, BiasBackward,
                 BatchNormBackwardReduce, BatchNormBackwardApply, BatchNormFrozenBackward, ActivationBackward,
                 ReluMaskBackward, ShortcutABackward, SliceBackward, MaxPoolBackward, AvgPoolBackward,
                 GlobalAvgPoolBackward, LinearBackwardData, LinearBackwardFilter, SoftmaxCrossEntropyBackward,
                 Gram, GramStats, GramBackwardReduce, GramBackwardFilter, GramBackwardWeight, GradientNorm,
                 AccumulateGradient, AllReduce, SgdUpdate, EmaUpdate, BatchNormCommit>;

/// One of them; std::visit, std::get and the like take it as the variant that it is. (Copies of fifty types
/// are compiled in op.cpp alone, not in each file that has a graph.)
struct Op : OpKinds {
  using OpKinds::OpKinds;
  Op(const Op&);
  Op(Op&&) noexcept;
  Op& operator=(const Op&);
  Op& operator=(Op&&) noexcept;
  ~Op();
};

/// "conv", "batch_norm_apply", "relu", "conv_backward_data", ...: the one name of an operation everywhere.
std::string_view op_name(const Op& op);

/// How an operation can be cut into shards of the batch.
enum class OpDomain : uint8_t {
  kBatchMap,     ///< row n of every output depends on row n of the batch inputs alone
  kBatchReduce,  ///< some outputs are ordered sums over the batch
  kWhole,        ///< no batch: updates over parameters, algebra on weights and sums
};
OpDomain op_domain(const Op& op);
/// True when input `i` is a batch (its first extent is N) and not a weight, a vector or a whole tensor.
/// Outputs are batches exactly for kBatchMap.
bool reads_batch(const Op& op, size_t i);

/// Whether it is the activation ReLU; ReluMask, which writes a mask too, is another operation.
bool is_relu(const Op& op);

/// True for element-wise operations so cheap that repeating them beats storing their result.
bool is_cheap(const Op& op);

}  // namespace residuum
