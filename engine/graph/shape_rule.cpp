// The shape rule of every operation: output descriptors from input descriptors, or an Error saying what does
// not fit.
#include <span>

#include "engine/core/check.h"
#include "engine/core/overloaded.h"
#include "engine/graph/graph.h"

namespace residuum {
namespace {

using Descs = std::vector<TensorDesc>;
using In = std::span<const TensorDesc>;

void require(bool condition, std::string_view what, In in) {
  if (condition) return;
  std::string found;
  for (const TensorDesc& desc : in) found += (found.empty() ? "" : ", ") + to_string(desc);
  fail(ErrorKind::kShape, "{}; found inputs ({})", what, found);
}

void require_count(In in, size_t count) {
  check(in.size() == count, ErrorKind::kShape, "takes {} inputs, found {}", count, in.size());
}

TensorDesc vector_f32(int64_t n) {
  return {DType::kF32, {n}};
}

int64_t last(const TensorDesc& desc) {
  check(desc.shape.rank() >= 1, ErrorKind::kShape, "a scalar has no channels");
  return desc.shape[desc.shape.rank() - 1];
}

bool is_vector(const TensorDesc& desc, int64_t n) {
  return desc == vector_f32(n);
}

/// An f32 parameter, or its copy in the type of the activations it meets.
void require_weight(const TensorDesc& weight, const Shape& shape, const TensorDesc& activation, In in) {
  const bool type = weight.dtype == DType::kF32 || weight.dtype == activation.dtype;
  require(type && weight.shape == shape,
          fmt::format("weight must be f32{} or the same of the activation's type", to_string(shape)), in);
}

Descs same_shape(In in, size_t count) {
  require_count(in, count);
  for (const TensorDesc& desc : in) require(desc == in[0], "all inputs must have one type and shape", in);
  return {in[0]};
}

/// One bit an element, rows padded to whole bytes.
TensorDesc mask_of(const TensorDesc& dst) {
  const auto [n, h, w, c] = Nhwc::of(dst.shape);
  return {DType::kU8, {n, h, w, (c + 7) / 8}};
}

Descs window(const TensorDesc& src, int64_t r, int64_t s, int64_t stride, int64_t pad, int64_t channels,
             In in) {
  const auto [n, h, w, c] = Nhwc::of(src.shape);
  check(r >= 1 && s >= 1 && stride >= 1 && pad >= 0, ErrorKind::kShape,
        "window {}x{}, stride {}, pad {}: window and stride must be >= 1, pad >= 0", r, s, stride, pad);
  const int64_t p = window_output(h, r, stride, pad), q = window_output(w, s, stride, pad);
  require(p >= 1 && q >= 1,
          fmt::format("a {}x{} window with stride {} and pad {} does not fit the image", r, s, stride, pad),
          in);
  return {{src.dtype, {n, p, q, channels}}};
}

ConvShape conv_shape(const Conv& op, In in) {
  require_count(in, 2);
  const auto [n, h, w, c] = Nhwc::of(in[0].shape);
  check(op.groups >= 1 && c % op.groups == 0 && op.out_channels % op.groups == 0 && op.out_channels >= 1,
        ErrorKind::kShape, "{} input and {} output channels must be positive multiples of groups = {}", c,
        op.out_channels, op.groups);
  const Shape weight{op.out_channels, op.kernel_h, op.kernel_w, c / op.groups};
  require(is_float(in[0].dtype), "src must be floating point", in);
  require_weight(in[1], weight, in[0], in);
  return {n, h, w, c, op.out_channels, op.kernel_h, op.kernel_w, op.stride, op.pad, op.groups};
}

Descs batch_norm_parameters(In in, size_t first) {
  for (size_t i = first; i < in.size(); ++i) {
    require(is_vector(in[i], last(in[0])),
            "statistics and parameters must be f32 vectors with one entry a channel", in);
  }
  return {in[0]};
}

Descs concat(In in) {
  require(!in.empty(), "needs at least one input", in);
  const Nhwc first = Nhwc::of(in[0].shape);
  int64_t channels = 0;
  for (const TensorDesc& desc : in) {
    const Nhwc x = Nhwc::of(desc.shape);
    require(desc.dtype == in[0].dtype && x.n == first.n && x.h == first.h && x.w == first.w,
            "all inputs must agree in all but the channels", in);
    channels += x.c;
  }
  return {{in[0].dtype, {first.n, first.h, first.w, channels}}};
}

Descs shortcut_a(const ShortcutA& op, In in) {
  require_count(in, 1);
  const auto [n, h, w, c] = Nhwc::of(in[0].shape);
  check(op.stride >= 1, ErrorKind::kShape, "stride is {}, must be >= 1", op.stride);
  check(op.out_channels >= c, ErrorKind::kShape, "{} output channels cannot hold {} input channels",
        op.out_channels, c);
  return {
      {in[0].dtype, {n, (h + op.stride - 1) / op.stride, (w + op.stride - 1) / op.stride, op.out_channels}}};
}

Descs linear(const Linear& op, In in) {
  require_count(in, 2);
  require(in[0].shape.rank() >= 2 && is_float(in[0].dtype), "src must be a floating point batch", in);
  const int64_t n = in[0].shape[0], c = n == 0 ? 0 : in[0].elements() / n;
  require_weight(in[1], {op.out_features, c}, in[0], in);
  return {{op.dtype, {n, op.out_features}}};
}

void require_classification(In in) {
  require_count(in, 2);
  require(in[0].dtype == DType::kF32 && in[0].shape.rank() == 2, "logits must be f32[N, classes]", in);
  require(in[1] == TensorDesc{DType::kI32, {in[0].shape[0]}}, "labels must be i32[N]", in);
}

Descs conv_backward_filter(const ConvShape& s, In in) {
  require_count(in, 2);
  require(in[0].shape == Shape{s.n, s.p(), s.q(), s.k}, "d_dst must be N,P,Q,K of the convolution", in);
  require(in[1].shape == Shape{s.n, s.h, s.w, s.c} && in[1].dtype == in[0].dtype,
          "src must be N,H,W,C of the convolution, of d_dst's type", in);
  return {{DType::kF32, {s.k, s.r, s.s, s.c / s.groups}}};
}

/// A weight K,1,1,C: f32 or a 16-bit copy.
void require_pointwise(const TensorDesc& weight, In in) {
  require(is_float(weight.dtype) && weight.shape.rank() == 4 && weight.shape[1] == 1 && weight.shape[2] == 1,
          "weight must be floating point K,1,1,C", in);
}

/// f32 vectors of n at the positions [first, first + count).
void require_vectors(In in, size_t first, size_t count, int64_t n, std::string_view what) {
  for (size_t i = first; i < first + count; ++i) require(is_vector(in[i], n), what, in);
}

void require_pixels(int64_t pixels) {
  check(pixels >= 1, ErrorKind::kShape, "pixels is {}, must be 1 or more", pixels);
}

/// Inputs that begin with product and weight: the product must be an f32 of the weight's shape.
void require_product(In in) {
  require_pointwise(in[1], in);
  require(in[0] == TensorDesc{DType::kF32, in[1].shape}, "product must be f32 of the weight's shape", in);
}

void require_gram(const TensorDesc& gram, const TensorDesc& sum, int64_t c, In in) {
  require(gram == TensorDesc{DType::kF32, {c, c}}, "gram must be f32[C, C] of the weight", in);
  require(is_vector(sum, c), "sum must be f32[C] of the weight", in);
}

constexpr std::string_view kOutputVectors =
    "statistics, parameters and their gradients must be f32 vectors with one entry an output channel";

/// Checks `lists` equally long lists of tensors after `leading` inputs; entry i of all lists has one shape.
void require_lists(In in, size_t leading, size_t lists) {
  check(in.size() > leading && (in.size() - leading) % lists == 0, ErrorKind::kShape,
        "takes {} inputs and then {} equally long lists, found {} inputs", leading, lists, in.size());
  const size_t length = (in.size() - leading) / lists;
  for (size_t i = leading; i < in.size(); ++i) {
    require(in[i] == in[leading + (i - leading) % length] && in[i].dtype == DType::kF32,
            "the tensors of the lists must be f32 and agree in shape", in);
  }
  if (leading == 1) require(is_vector(in[0], 2), "the first input must be the gradient norm f32[2]", in);
}

struct ShapeRule {
  In in;

  Descs operator()(const CropFlip& op) const {
    require_count(in, 2);
    const auto [n, h, w, c] = Nhwc::of(in[0].shape);
    require(in[0].dtype == DType::kU8, "images must be u8", in);
    require(in[1] == TensorDesc{DType::kI32, {n, 3}}, "windows must be i32[N, 3]", in);
    check(op.height >= 1 && op.width >= 1, ErrorKind::kShape, "the window is {}x{}, must be at least 1x1",
          op.height, op.width);
    return {{DType::kU8, {n, op.height, op.width, c}}};
  }
  Descs operator()(const Normalize& op) const {
    require_count(in, 1);
    const auto [n, h, w, c] = Nhwc::of(in[0].shape);
    require(in[0].dtype == DType::kU8, "images must be u8", in);
    check(static_cast<int64_t>(op.mean.size()) == c && static_cast<int64_t>(op.std.size()) == c,
          ErrorKind::kShape, "mean and std have {} and {} entries, the images {} channels", op.mean.size(),
          op.std.size(), c);
    return {{op.dtype, in[0].shape}};
  }
  Descs operator()(const Conv& op) const {
    conv_shape(op, in);
    return window(in[0], op.kernel_h, op.kernel_w, op.stride, op.pad, op.out_channels, in);
  }
  Descs operator()(const Bias&) const {
    require_count(in, 2);
    return batch_norm_parameters(in, 1);
  }
  Descs operator()(const BatchNormStats&) const {
    require_count(in, 1);
    return {vector_f32(last(in[0])), vector_f32(last(in[0]))};
  }
  Descs operator()(const BatchNormApply&) const {
    require_count(in, 5);
    return batch_norm_parameters(in, 1);
  }
  Descs operator()(const Activation&) const { return same_shape(in, 1); }
  Descs operator()(const ReluMask&) const {
    require_count(in, 1);
    return {in[0], mask_of(in[0])};
  }
  Descs operator()(const Add&) const { return same_shape(in, 2); }
  Descs operator()(const Multiply&) const { return same_shape(in, 2); }
  Descs operator()(const Scale&) const { return same_shape(in, 1); }
  Descs operator()(const ShortcutA& op) const { return shortcut_a(op, in); }
  Descs operator()(const Concat&) const { return concat(in); }
  Descs operator()(const Slice& op) const {
    require_count(in, 1);
    const auto [n, h, w, c] = Nhwc::of(in[0].shape);
    check(op.first >= 0 && op.channels >= 1 && op.first + op.channels <= c, ErrorKind::kShape,
          "channels [{}, {}) are not inside [0, {})", op.first, op.first + op.channels, c);
    return {{in[0].dtype, {n, h, w, op.channels}}};
  }
  Descs operator()(const MaxPool& op) const {
    require_count(in, 1);
    check(op.window * op.window <= 256 && op.pad * 2 <= op.window, ErrorKind::kShape,
          "max pooling allows windows up to 16 and pads up to half a window, found window {} and pad {}",
          op.window, op.pad);
    Descs out = window(in[0], op.window, op.window, op.stride, op.pad, last(in[0]), in);
    out.push_back({DType::kU8, out[0].shape});
    return out;
  }
  Descs operator()(const AvgPool& op) const {
    require_count(in, 1);
    return window(in[0], op.window, op.window, op.stride, op.pad, last(in[0]), in);
  }
  Descs operator()(const GlobalAvgPool&) const {
    require_count(in, 1);
    const auto [n, h, w, c] = Nhwc::of(in[0].shape);
    return {{in[0].dtype, {n, 1, 1, c}}};
  }
  Descs operator()(const Linear& op) const { return linear(op, in); }
  Descs operator()(const Dropout& op) const {
    check(op.probability >= 0 && op.probability < 1, ErrorKind::kShape,
          "dropout probability {} is not in [0, 1)", op.probability);
    return same_shape(in, 1);
  }
  Descs operator()(const BlockGate& op) const {
    const auto [block, blocks, open, probability] = op.draw;
    check(block < blocks && open <= blocks, ErrorKind::kShape, "gate {} with {} open gates is not one of {}",
          block, open, blocks);
    check(probability >= 0 && probability <= 1, ErrorKind::kShape, "gate probability {} is not in [0, 1]",
          probability);
    return same_shape(in, 1);
  }
  Descs operator()(const SoftmaxCrossEntropy&) const {
    require_classification(in);
    return {vector_f32(1), {DType::kI32, {3}}};
  }

  Descs operator()(const ConvBackwardData& op) const {
    require_count(in, 2);
    const ConvShape& s = op.shape;
    require(in[0].shape == Shape{s.n, s.p(), s.q(), s.k}, "d_dst must be N,P,Q,K of the convolution", in);
    require_weight(in[1], {s.k, s.r, s.s, s.c / s.groups}, in[0], in);
    return {{in[0].dtype, {s.n, s.h, s.w, s.c}}};
  }
  Descs operator()(const ConvBackwardFilter& op) const { return conv_backward_filter(op.shape, in); }
  Descs operator()(const BiasBackward&) const {
    require_count(in, 1);
    return {vector_f32(last(in[0]))};
  }
  Descs operator()(const BatchNormBackwardReduce&) const {
    require_count(in, 4);
    require(in[0] == in[1], "d_dst and src must have one type and shape", in);
    batch_norm_parameters(in, 2);
    return {in[2], in[2]};
  }
  Descs operator()(const BatchNormBackwardApply&) const {
    require_count(in, 7);
    require(in[0] == in[1], "d_dst and src must have one type and shape", in);
    return batch_norm_parameters(in, 2);
  }
  Descs operator()(const BatchNormFrozenBackward&) const {
    require_count(in, 4);
    return batch_norm_parameters(in, 1);
  }
  Descs operator()(const ActivationBackward&) const { return same_shape(in, 2); }
  Descs operator()(const ReluMaskBackward&) const {
    require_count(in, 2);
    require(in[1] == mask_of(in[0]), fmt::format("mask must be {}", to_string(mask_of(in[0]))), in);
    return {in[0]};
  }
  Descs operator()(const ShortcutABackward& op) const {
    require_count(in, 1);
    const TensorDesc src{in[0].dtype, op.src};
    require(shortcut_a(op.forward, In(&src, 1))[0] == in[0], "d_dst does not match the forward shape", in);
    return {src};
  }
  Descs operator()(const SliceBackward& op) const {
    require_count(in, 1);
    const auto [n, h, w, c] = Nhwc::of(op.src);
    require(in[0].shape == Shape{n, h, w, op.forward.channels}, "d_dst does not match the forward shape", in);
    return {{in[0].dtype, op.src}};
  }
  Descs operator()(const MaxPoolBackward& op) const {
    require_count(in, 2);
    require(in[1] == TensorDesc{DType::kU8, in[0].shape}, "argmax must be u8 of d_dst's shape", in);
    return pool_backward(op.shape);
  }
  Descs operator()(const AvgPoolBackward& op) const {
    require_count(in, 1);
    return pool_backward(op.shape);
  }
  Descs operator()(const GlobalAvgPoolBackward& op) const {
    require_count(in, 1);
    const auto [n, h, w, c] = Nhwc::of(op.src);
    require(in[0].shape == Shape{n, 1, 1, c}, "d_dst must be N,1,1,C", in);
    return {{in[0].dtype, op.src}};
  }
  Descs operator()(const LinearBackwardData& op) const {
    require_count(in, 2);
    const Linear forward{in[0].shape[1], in[0].dtype};
    const TensorDesc inputs[] = {op.src, in[1]};
    require(linear(forward, inputs)[0] == in[0], "d_dst does not match the forward shape", in);
    return {op.src};
  }
  Descs operator()(const LinearBackwardFilter&) const {
    require_count(in, 2);
    require(in[0].shape.rank() == 2 && in[1].shape.rank() >= 2 && in[0].shape[0] == in[1].shape[0],
            "d_dst must be N,K and src a batch of N", in);
    return {{DType::kF32, {in[0].shape[1], in[1].elements() / in[1].shape[0]}}};
  }
  Descs operator()(const SoftmaxCrossEntropyBackward&) const {
    require_classification(in);
    return {in[0]};
  }

  Descs operator()(const Gram&) const {
    require_count(in, 1);
    require(is_float(in[0].dtype) && in[0].shape.rank() == 4, "src must be floating point N,H,W,C", in);
    const int64_t c = last(in[0]);
    return {{DType::kF32, {c, c}}, vector_f32(c)};
  }
  Descs operator()(const GramStats& op) const {
    require_count(in, 3);
    require_pixels(op.pixels);
    require_pointwise(in[2], in);
    require_gram(in[0], in[1], last(in[2]), in);
    return {vector_f32(in[2].shape[0]), vector_f32(in[2].shape[0]), {DType::kF32, in[2].shape}};
  }
  Descs operator()(const GramBackwardReduce&) const {
    require_count(in, 5);
    require_product(in);
    require_vectors(in, 2, 3, in[1].shape[0], kOutputVectors);
    return {vector_f32(in[1].shape[0])};
  }
  Descs operator()(const GramBackwardFilter& op) const {
    require_count(in, 7);
    require_pixels(op.pixels);
    require_product(in);
    require(in[1].dtype == DType::kF32, "weighted must be f32", in);
    require(is_vector(in[2], last(in[1])), "sum must be f32[C] of the weight", in);
    require_vectors(in, 3, 4, in[1].shape[0], kOutputVectors);
    return {in[0]};
  }
  Descs operator()(const GramBackwardWeight& op) const {
    require_count(in, 6);
    require_pixels(op.pixels);
    require_pointwise(in[0], in);
    const int64_t k = in[0].shape[0], c = last(in[0]);
    require(is_vector(in[1], c), "sum must be f32[C] of the weight", in);
    require_vectors(in, 2, 4, k, kOutputVectors);
    return {{op.dtype, {k + c, 1, 1, c}}, vector_f32(c)};
  }

  Descs operator()(const GradientNorm&) const {
    require_lists(in, 0, 1);
    return {vector_f32(2)};
  }
  Descs operator()(const AccumulateGradient&) const {
    require_lists(in, 0, 2);
    return {};
  }
  Descs operator()(const AllReduce&) const {
    require_lists(in, 0, 1);
    return {in.begin(), in.end()};
  }
  Descs operator()(const SgdUpdate& op) const {
    const size_t weights = op.weight_decay.size(), copies = op.copy_of.size();
    check(1 + 3 * weights + copies == in.size(), ErrorKind::kShape,
          "takes 1 input, 3 lists of {} and {} copies, found {} inputs", weights, copies, in.size());
    require_lists(in.first(1 + 3 * weights), 1, 3);
    for (size_t k = 0; k < copies; ++k) {
      const auto i = static_cast<size_t>(op.copy_of[k]);
      const TensorDesc& copy = in[1 + 3 * weights + k];
      const bool fits = i < weights && copy.shape == in[1 + i].shape && is_float(copy.dtype) &&
                        copy.dtype != DType::kF32 && copy.dtype == in[1 + 3 * weights].dtype;
      require(fits,
              fmt::format("copy {} must be a tensor of the shape of weight {}, all of one 16-bit type", k, i),
              in);
    }
    return {};
  }
  Descs operator()(const EmaUpdate&) const {
    require_lists(in, 1, 2);
    return {};
  }
  Descs operator()(const BatchNormCommit& op) const {
    require_lists(in, 1, 4);
    check(op.counts.size() == (in.size() - 1) / 4, ErrorKind::kShape, "{} sample counts for {} inputs",
          op.counts.size(), in.size());
    return {};
  }

 private:
  Descs pool_backward(const PoolShape& s) const {
    require(in[0].shape == Shape{s.n, s.p(), s.q(), s.c}, "d_dst must be N,P,Q,C of the pooling", in);
    return {{in[0].dtype, {s.n, s.h, s.w, s.c}}};
  }
};

}  // namespace

std::vector<TensorDesc> infer_outputs(const Op& op, std::span<const TensorDesc> inputs) {
  return std::visit(ShapeRule{inputs}, op);
}

}  // namespace residuum
