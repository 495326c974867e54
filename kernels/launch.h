// Every launcher of the CUDA kernels with its parameters: plain C++, no CUDA header needed to read it.
// Conventions: pointers are device addresses aligned to 16 bytes or more; tensors are dense, channels fastest
// (N,H,W,C; weights K,R,S,C/groups); `void*` tensors have the element type named beside them; per-channel
// vectors are float. A launcher checks its arguments, puts work on `stream` and returns at once; it throws
// LaunchError. Results have the same bits in every run: reductions add partial results in a fixed order. Two
// kinds of temporary memory: a workspace of NAME_workspace() bytes whose content means nothing before and
// after, and a counter, one unsigned that is 0 before and after.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "kernels/philox.h"
#include "kernels/shapes.h"

struct CUstream_st;

namespace residuum::kernels {

using Stream = CUstream_st*;

/// A launch that was refused: impossible arguments (code 1, cudaErrorInvalidValue) or the runtime's error.
class LaunchError : public std::runtime_error {
 public:
  LaunchError(int code, const std::string& message) : std::runtime_error(message), code_(code) {}
  int code() const { return code_; }  ///< a cudaError_t

 private:
  int code_;
};

/// Type of an activation, or of a weight copy.
enum class Element : uint8_t { kF32, kBF16, kF16 };
constexpr size_t size_of(Element type) {
  return type == Element::kF32 ? 4 : 2;
}

/// How products of f32 are formed on tensor cores: kTf32 rounds both factors to 11 significant bits; kTf32x3
/// splits each into two TF32 parts and adds three products, nearly as exact as f32 (Ootomo and Yokota 2022,
/// 2203.03341).
enum class F32Math : uint8_t { kTf32, kTf32x3 };

/// What changes from step to step, in device memory: a captured graph reads it anew on every replay.
struct StepValues {
  uint64_t seed = 0, step = 0;
  uint32_t micro_step = 0;
  float learning_rate = 0;
};

// ---- what several kernels share ----

/// An activation seen as [rows, channels], rows = N*H*W.
struct Rows {
  int64_t rows = 0, channels = 0;
  Element type = Element::kBF16;
  constexpr int64_t elements() const { return rows * channels; }
};
/// Bytes of a ReLU mask: one bit a channel, rows padded to whole bytes; bit c % 8 of byte c / 8.
constexpr int64_t mask_bytes(const Rows& rows) {
  return rows.rows * ((rows.channels + 7) / 8);
}

/// What batch normalisation needs of its channels.
struct BatchNormVectors {
  const float *mean = nullptr, *variance = nullptr, *gamma = nullptr, *beta = nullptr;
  float epsilon = 1e-5f;
};

/// Where the gradient passes a ReLU: not at all (kOpen), where dst > 0 (kTensor), where the mask has a 1
/// (kMask), or where BN(src) > 0, computed again (kNormalised).
enum class Gate : uint8_t { kOpen, kTensor, kMask, kNormalised };

// ---- convolution and linear (conv.cu; one conv_TYPE.cu for each element type) ----

/// A convolution in element type `type` with f32 accumulation; weights have that type too.
struct ConvProblem {
  ConvShape shape;
  Element type = Element::kBF16;
  F32Math math = F32Math::kTf32x3;  ///< of type kF32
  /// A TileName of conv/tiles.h to run with in place of the usual one; must suit the problem. -1: the usual
  /// one.
  int tile = -1;
  /// Forward and backward-data: the weights were in memory when the launch ahead on the stream began. Blocks
  /// that want all of them then read them while that one still runs (dependent_launch.h).
  bool early_weights = false;
  /// Backward-filter: how many such convolutions one launch computes, filter_layers(problem) at most.
  int layers = 1;
};

/// How a tensor that a convolution reads comes from those in memory; it is rounded to the problem's type
/// before it is multiplied, so it has the bits that the kernel of rows (batch_norm_apply, ...) would have
/// stored.
enum class Form : uint8_t {
  kStored,    ///< a
  kApply,     ///< f(BN(a))
  kJoin,      ///< f(BN(a) + b), or f(BN(a) + BN(b)) where b_vectors are given
  kGradient,  ///< the batch norm's backward pass: gamma inv_std (a - d_beta / rows - xhat(b) d_gamma / rows)
  kConcat,    ///< [a | f(BN(b))], or [a | b] without vectors; b has as many channels as the result
};
struct ConvSource {
  const void* a = nullptr;
  Form form = Form::kStored;
  const void* b = nullptr;     ///< kJoin: the shortcut; kGradient: the source of the batch norm
  BatchNormVectors vectors;    ///< of a (kApply, kJoin) or of b (kGradient, kConcat)
  BatchNormVectors b_vectors;  ///< kJoin: of b; null mean: b is added as it is
  const float *d_gamma = nullptr, *d_beta = nullptr;  ///< kGradient
  bool relu = false;                                  ///< f: ReLU or nothing
  /// Where the formed tensor is stored too, with its ReLU mask; null: nowhere. See conv_can_store.
  void* dst = nullptr;
  uint8_t* mask = nullptr;
};

/// A batch norm whose sums are made of a result r: d_beta = sum r, d_gamma = sum r xhat(src).
struct ConvNorm {
  const void* src = nullptr;  ///< null: no such norm
  BatchNormVectors vectors;   ///< gamma and beta for Gate::kNormalised only
  float *d_gamma = nullptr, *d_beta = nullptr;
};
/// What becomes of a result r on its way to memory, in this order. Batch norms that are applied, ReLU and
/// statistics are of the forward pass, gates and norms of backward-data.
struct ConvResult {
  void* dst = nullptr;
  Element type = Element::kBF16;  ///< of dst: the problem's, or kF32
  const float* bias = nullptr;    ///< r += bias[channel]
  BatchNormVectors apply;         ///< r = BN(r); null mean: not
  const void* addend = nullptr;   ///< r += addend, of the problem's type and dst's shape
  BatchNormVectors addend_apply;  ///< BN(addend), rounded to its type, is added; null mean: addend itself
  bool relu = false;              ///< r = ReLU(r)
  uint8_t* mask = nullptr;        ///< of ReLU, with relu only; null: none
  Gate gate = Gate::kOpen;        ///< r = 0 where closed; kNormalised: by norms[0]
  const void* gate_tensor = nullptr;
  const uint8_t* gate_mask = nullptr;
  /// Statistics of dst as stored, not together with apply or addend_apply; null: none.
  float *mean = nullptr, *variance = nullptr;
  ConvNorm norms[2];             ///< sums of dst as stored
  void* workspace = nullptr;     ///< conv_workspace bytes, and
  unsigned* counters = nullptr;  ///< conv_counters counters, where there are sums
};
/// Floats that each part of a result leaves per channel: 3 for statistics, 2 for one norm, 3 for two.
constexpr int conv_sums(const ConvResult& result) {
  return result.mean != nullptr           ? 3
         : result.norms[1].src != nullptr ? 3
         : result.norms[0].src != nullptr ? 2
                                          : 0;
}

enum class ConvPass : uint8_t { kForward, kBackwardData };
/// Whether the pass can read a tensor in another form than kStored: channels come in whole 16-byte chunks.
bool conv_can_form(const ConvProblem& problem);
/// Whether the forward pass can store the tensor it forms (with a mask): its output pixels are its source
/// pixels, and masks need 16-bit types.
bool conv_can_store(const ConvProblem& problem, bool mask);
/// Bytes of workspace for `sums` floats per channel; all of them are written once and read once.
size_t conv_workspace(const ConvProblem& problem, ConvPass pass, Form form, int sums);
int conv_counters(const ConvProblem& problem, ConvPass pass, Form form);
/// dst = conv(src, weight).
void conv_forward(const ConvProblem& problem, const ConvSource& src, const void* weight,
                  const ConvResult& dst, Stream stream);
/// Whether backward-data can read a tensor in form kConcat: a 1x1 kernel, both tensors in whole chunks.
bool conv_can_concat(const ConvProblem& problem);
/// d_src = the gradient of src. Forms: kStored, kGradient, kConcat.
void conv_backward_data(const ConvProblem& problem, const ConvSource& d_dst, const void* weight,
                        const ConvResult& d_src, Stream stream);
/// What backward-filter reads of one layer, and where its gradients go.
struct FilterLayer {
  ConvSource d_dst, src;
  float* d_weight = nullptr;
  float* d_bias = nullptr;  ///< the sum of d_dst over pixels; null: none
};
/// d_weight (f32) = the gradient of the weights. d_dst is kStored, kGradient or kApply (a Gram matrix has one
/// tensor for both operands), src kStored or kApply; any channel counts. The sum over pixels is cut in
/// pieces, which are added in a fixed order. Of several layers, problem.layers of them, all have operands of
/// the same forms, and none has a d_bias: each is summed by fewer blocks than it would have alone, which have
/// more to do between beginning and joining.
size_t conv_backward_filter_workspace(const ConvProblem& problem, bool d_bias);
int conv_backward_filter_counters(const ConvProblem& problem);
/// Bytes of the workspace that are {written, read}: partial sums.
struct WorkspaceTraffic {
  int64_t written = 0, read = 0;
};
WorkspaceTraffic conv_backward_filter_traffic(const ConvProblem& problem, bool d_bias);
void conv_backward_filter(const ConvProblem& problem, std::span<const FilterLayer> layers, void* workspace,
                          unsigned* counters, Stream stream);
/// A linear layer (src N,C; weight K,C; dst N,K) is the convolution of 1x1 images by 1x1 kernels.
constexpr ConvShape linear_as_conv(int64_t n, int64_t c, int64_t k) {
  return {n, 1, 1, c, k, 1, 1, 1, 0, 1};
}

// ---- rows of channels (batch_norm*.cu, elementwise.cu, normalize.cu, channels.cu) ----

/// mean, variance (biased) of each channel; partial moments are joined as Chan, Golub and LeVeque 1979 do.
size_t batch_norm_stats_workspace(const Rows& rows);
void batch_norm_stats(const Rows& rows, const void* src, float* mean, float* variance, void* workspace,
                      unsigned* counter, Stream stream);

/// dst = f(BN(src) [+ addend]), f = ReLU when `relu`; the residual join writes a 1-bit `mask` too: 0 where
/// dst <= 0.
struct BatchNormApplyArgs {
  const void* src = nullptr;
  BatchNormVectors vectors;
  const void* addend = nullptr;  ///< null: none
  bool relu = false;
  uint8_t* mask = nullptr;  ///< null: none; only with relu
  void* dst = nullptr;
};
void batch_norm_apply(const Rows& rows, const BatchNormApplyArgs& args, Stream stream);

/// g = gate(d_a [+ d_b]); d_gamma = sum g * xhat; d_beta = sum g. With `pool`, d_a is the gradient of a max
/// pool's output and g starts as the pool's backward pass (rows are the pool's source pixels); with
/// `average_pixels` the same of a global average pool.
struct BatchNormBackwardReduceArgs {
  const void *d_a = nullptr, *d_b = nullptr;  ///< d_b null: none
  const PoolShape* pool = nullptr;            ///< null: none
  const uint8_t* argmax = nullptr;            ///< of the pool
  /// Not 0: d_a is the gradient of the mean over so many pixels of each image; g starts as d_a[image] /
  /// pixels, rounded to the type as global_avg_pool_backward stores it.
  int64_t average_pixels = 0;
  Gate gate = Gate::kOpen;
  const void* gate_tensor = nullptr;   ///< kTensor: dst of the ReLU
  const uint8_t* gate_mask = nullptr;  ///< kMask
  const void* src = nullptr;           ///< of the batch norm
  BatchNormVectors vectors;            ///< gamma and beta used by kNormalised only
  void* g = nullptr;                   ///< null: not written
  float *d_gamma = nullptr, *d_beta = nullptr;
};
size_t batch_norm_backward_reduce_workspace(const Rows& rows);
void batch_norm_backward_reduce(const Rows& rows, const BatchNormBackwardReduceArgs& args, void* workspace,
                                unsigned* counter, Stream stream);
/// d_src = gamma inv_std (d_dst - d_beta / rows - xhat d_gamma / rows) [+ addend], added before rounding.
void batch_norm_backward_apply(const Rows& rows, const void* d_dst, const void* src,
                               const BatchNormVectors& vectors, const float* d_gamma, const float* d_beta,
                               const void* addend, void* d_src, Stream stream);
/// d_src = gamma inv_std d_dst.
void batch_norm_frozen_backward(const Rows& rows, const void* d_dst, const BatchNormVectors& vectors,
                                void* d_src, Stream stream);

void bias(const Rows& rows, const void* src, const float* bias, void* dst, Stream stream);
size_t bias_backward_workspace(const Rows& rows);
void bias_backward(const Rows& rows, const void* d_dst, float* d_bias, void* workspace, unsigned* counter,
                   Stream stream);

enum class Function : uint8_t { kRelu, kSigmoid, kTanh };
/// NaN passes through every activation and gradient.
void activation(const Rows& rows, Function function, const void* src, void* dst, Stream stream);
void activation_backward(const Rows& rows, Function function, const void* d_dst, const void* dst, void* d_src,
                         Stream stream);
/// dst = ReLU(src) and its mask; d_src = d_dst where the mask has a 1.
void relu_mask(const Rows& rows, const void* src, void* dst, uint8_t* mask, Stream stream);
void relu_mask_backward(const Rows& rows, const void* d_dst, const uint8_t* mask, void* d_src, Stream stream);
void add(const Rows& rows, const void* a, const void* b, void* dst, Stream stream);
void multiply(const Rows& rows, const void* a, const void* b, void* dst, Stream stream);
/// dst = factor * src + offset.
void scale(const Rows& rows, float factor, float offset, const void* src, void* dst, Stream stream);
/// Element i is dropped as engine/backend/cpu/simd_table.h says (DropoutStream): the CPU's mask, bit for bit.
void dropout(const Rows& rows, float probability, uint32_t stream_number, const StepValues* step,
             const void* src, void* dst, Stream stream);
/// dst = src where the gate is open in this step (block_is_open), else zeros; src is then not read.
void block_gate(const Rows& rows, const BlockDraw& draw, const StepValues* step, const void* src, void* dst,
                Stream stream);
/// dst (of `to`) = src (of rows.type), rounded to nearest even.
void cast(const Rows& rows, const void* src, Element to, void* dst, Stream stream);

/// images u8 N,H,W,C -> dst = image * scale[c] + shift[c]. With `windows` (i32 N,3: top, left, flip), dst is
/// the p x q window of each image, outside of it 0 before scaling, mirrored where flip is not 0; without,
/// p = h and q = w.
struct NormalizeArgs {
  int64_t n = 0, h = 0, w = 0, c = 0, p = 0, q = 0;
  Element type = Element::kBF16;
  const uint8_t* images = nullptr;
  const int32_t* windows = nullptr;
  const float *scale = nullptr, *shift = nullptr;  ///< device, c each
  void* dst = nullptr;
};
void normalize(const NormalizeArgs& args, Stream stream);
/// The windows as bytes: type, scale and shift are unused.
void crop_flip(const NormalizeArgs& args, Stream stream);

/// Copies `count` channels of each row from channel `src_first` of src (pitch src_channels) to `dst_first` of
/// dst (pitch dst_channels): concat and slice are made of these. With zero_rest, the other channels of dst
/// become 0.
struct CopyChannelsArgs {
  int64_t rows = 0, count = 0;
  int64_t src_channels = 0, src_first = 0, dst_channels = 0, dst_first = 0;
  Element type = Element::kBF16;
  const void* src = nullptr;
  void* dst = nullptr;
  bool zero_rest = false;
};
void copy_channels(const CopyChannelsArgs& args, Stream stream);

/// The option-A shortcut: every stride-th pixel of src N,H,W,C into channels [first, first + C) of dst
/// N,ceil(H/stride),ceil(W/stride),K, the others 0.
struct ShortcutShape {
  int64_t n = 0, h = 0, w = 0, c = 0, k = 0, stride = 1, first = 0;
  constexpr int64_t p() const { return (h + stride - 1) / stride; }
  constexpr int64_t q() const { return (w + stride - 1) / stride; }
};
void shortcut_a(const ShortcutShape& shape, Element type, const void* src, void* dst, Stream stream);
void shortcut_a_backward(const ShortcutShape& shape, Element type, const void* d_dst, void* d_src,
                         Stream stream);

// ---- pools (pool.cu) ----

/// dst, argmax (u8, r * window + s) of max pooling; padding never wins, a NaN does, ties go to the first.
/// With `vectors` (the stem's tail) the source is ReLU(BN(src)), which is never stored.
void max_pool(const PoolShape& shape, Element type, const void* src, const BatchNormVectors* vectors,
              void* dst, uint8_t* argmax, Stream stream);
void max_pool_backward(const PoolShape& shape, Element type, const void* d_dst, const uint8_t* argmax,
                       void* d_src, Stream stream);
void avg_pool(const PoolShape& shape, Element type, const void* src, void* dst, Stream stream);
void avg_pool_backward(const PoolShape& shape, Element type, const void* d_dst, void* d_src, Stream stream);
/// The mean over `pixels` pixels of each of n images, and its gradient.
void global_avg_pool(int64_t n, int64_t pixels, int64_t channels, Element type, const void* src, void* dst,
                     Stream stream);
void global_avg_pool_backward(int64_t n, int64_t pixels, int64_t channels, Element type, const void* d_dst,
                              void* d_src, Stream stream);

// ---- loss (softmax_loss.cu) ----

/// loss = mean cross-entropy over rows with a label >= 0; counts = {valid, top-1 right, top-5 right}; equal
/// logits rank by class number. A label >= k makes the loss, and its row's gradient, NaN.
size_t softmax_cross_entropy_workspace(int64_t n);
void softmax_cross_entropy(int64_t n, int64_t k, float smoothing, const float* logits, const int32_t* labels,
                           float* loss, int32_t* counts, void* workspace, unsigned* counter, Stream stream);
/// d_logits = factor (softmax - target) / valid rows; factor is the loss scale.
void softmax_cross_entropy_backward(int64_t n, int64_t k, float smoothing, float factor, const float* logits,
                                    const int32_t* labels, float* d_logits, Stream stream);
/// Both in one launch: their bits.
void softmax_cross_entropy_step(int64_t n, int64_t k, float smoothing, float factor, const float* logits,
                                const int32_t* labels, float* loss, int32_t* counts, float* d_logits,
                                void* workspace, unsigned* counter, Stream stream);

// ---- many tensors in one launch (update.cu) ----

/// A piece of one tensor of a list.
struct Chunk {
  int32_t tensor = 0;
  int32_t count = 0;  ///< at most kChunkElements
  int64_t first = 0;
};
inline constexpr int32_t kChunkElements =
    8192;  ///< 32 KB of f32: a few hundred blocks for ResNet-50's 25.6 M
/// `roles` lists of `tensors` f32 tensors of the same sizes: pointers[role * tensors + tensor]. Arrays in
/// device memory.
struct TensorLists {
  const Chunk* chunks = nullptr;
  void* const* pointers = nullptr;
  int32_t chunk_count = 0, tensors = 0;
};
/// Roles {g}: norm = {L2 norm of all, 1 if every element is finite else 0}, summed in double.
size_t gradient_norm_workspace(int32_t chunk_count);
void gradient_norm(const TensorLists& lists, float* norm, void* workspace, unsigned* counter, Stream stream);
/// Roles {g, sum}: sum = g on micro-steps with no bit of `restart`, else sum + g; nothing on those without
/// all bits of `when`.
struct AccumulateArgs {
  uint32_t restart = ~uint32_t{0}, when = 0;
  const StepValues* step = nullptr;
};
void accumulate_gradient(const TensorLists& lists, const AccumulateArgs& args, Stream stream);
/// Roles {w, m, g, copy}: SgdUpdate of engine/graph/op.h; copy (null pointers: none) = w in type `copy_type`.
struct SgdArgs {
  float momentum = 0.9f, clip_norm = 0, gradient_scale = 1;
  bool nesterov = false;
  const float* weight_decay = nullptr;  ///< device, one a tensor
  const float* norm = nullptr;          ///< of gradient_norm; nothing changes when norm[1] is 0
  const StepValues* step = nullptr;
  Element copy_type = Element::kBF16;
};
void sgd_update(const TensorLists& lists, const SgdArgs& args, Stream stream);
/// Roles {w, e}: e = decay e + (1 - decay) w when norm[1] is not 0.
void ema_update(const TensorLists& lists, float decay, const float* norm, Stream stream);
/// BatchNormCommit of engine/graph/op.h.
struct CommitArgs {
  float momentum = 0.1f, scale = 1;
  const int64_t* counts = nullptr;  ///< device, rows of each tensor
  const float* norm = nullptr;      ///< of gradient_norm; nothing changes when norm[1] is 0
};
/// sgd_update of `weights` and batch_norm_commit of `norms` in one launch.
void sgd_update_and_commit(const TensorLists& weights, const SgdArgs& args, const TensorLists& norms,
                           const CommitArgs& commit, Stream stream);
/// Roles {mean, variance, running_mean, running_variance}.
void batch_norm_commit(const TensorLists& lists, const CommitArgs& args, Stream stream);

// ---- a batch norm after a 1x1 convolution y = W z, from sums over z (gram.cu) ----

/// c channels of z, k of y, `pixels` pixels; `weight`: the type of the weight W (K,C). Formulas: Gram... of
/// engine/graph/op.h.
struct GramProblem {
  int64_t pixels = 0, c = 0, k = 0;
  Element weight = Element::kBF16;
};
struct GramStatsArgs {
  const float *gram = nullptr, *sum = nullptr;  ///< C,C and C
  const void* weight = nullptr;
  float *mean = nullptr, *variance = nullptr, *weighted = nullptr;  ///< K, K and K,C: W covariance
};
size_t gram_stats_workspace(const GramProblem& problem);
void gram_stats(const GramProblem& problem, const GramStatsArgs& args, void* workspace, unsigned* counter,
                Stream stream);
/// d_gamma of product (K,C, sum g z^T); of `vectors` mean and variance are used.
void gram_backward_reduce(const GramProblem& problem, const float* product, const void* weight,
                          const BatchNormVectors& vectors, const float* d_beta, float* d_gamma,
                          Stream stream);
/// What the gradients of weight and z need of the batch norm; of `vectors` variance and gamma are used.
struct GramNorm {
  const float* sum = nullptr;  ///< C, of z
  BatchNormVectors vectors;
  const float *d_gamma = nullptr, *d_beta = nullptr;
};
/// d_weight K,C of product and weighted, K,C each.
void gram_backward_filter(const GramProblem& problem, const float* product, const float* weighted,
                          const GramNorm& norm, float* d_weight, Stream stream);
/// folded (K + C,C in `type`) and offset (C): the gradient of z is [g | z] folded + offset.
size_t gram_backward_weight_workspace(const GramProblem& problem);
void gram_backward_weight(const GramProblem& problem, const void* weight, const GramNorm& norm, Element type,
                          void* folded, float* offset, void* workspace, unsigned* counter, Stream stream);

}  // namespace residuum::kernels
