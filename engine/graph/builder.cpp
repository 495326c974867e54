#include "engine/graph/builder.h"

#include <cmath>

#include "engine/core/check.h"

namespace residuum {

ValueId GraphBuilder::append(std::string_view name, Op op, std::vector<ValueId> inputs) {
  std::string full = scope_ + std::string(name.empty() ? op_name(op) : name);
  return graph_.add_node(std::move(full), std::move(op), std::move(inputs), Phase::kForward, block_).at(0);
}

ValueId GraphBuilder::images(int64_t n, int64_t h, int64_t w, int64_t c, std::vector<float> mean,
                             std::vector<float> std) {
  const ValueId src = input("images", {DType::kU8, {n, h, w, c}});
  return append("", Normalize{std::move(mean), std::move(std), activation_}, {src});
}

ValueId GraphBuilder::input(std::string name, TensorDesc desc) {
  return graph_.add_persistent(std::move(name), desc, ValueKind::kInput);
}

ValueId GraphBuilder::conv(std::string_view name, ValueId src, int64_t out_channels, int64_t kernel,
                           ConvOptions options) {
  const int64_t c = Nhwc::of(shape(src)).c / options.groups;
  const double fan_out = static_cast<double>(out_channels * kernel * kernel);
  const std::string full = scope_ + std::string(name);
  const ValueId weight =
      graph_.add_persistent(full + ".weight", {DType::kF32, {out_channels, kernel, kernel, c}},
                            ValueKind::kParameter, {Init::Kind::kNormal, std::sqrt(2.0 / fan_out)});
  const Conv op{out_channels, kernel, kernel, options.stride, options.pad, options.groups};
  const ValueId dst = append(name, op, {src, weight});
  return options.bias ? bias(name, dst, options.bias_init) : dst;
}

ValueId GraphBuilder::bias(std::string_view name, ValueId src, double init) {
  const TensorDesc vector{DType::kF32, {shape(src)[shape(src).rank() - 1]}};
  const ValueId value = graph_.add_persistent(scope_ + std::string(name) + ".bias", vector,
                                              ValueKind::kParameter, {Init::Kind::kConstant, init});
  return append(name, Bias{}, {src, value});
}

ValueId GraphBuilder::batch_norm(std::string_view name, ValueId src, double gamma_init) {
  const TensorDesc vector{DType::kF32, {shape(src)[shape(src).rank() - 1]}};
  const std::string full = scope_ + std::string(name);
  const auto constant = [&](const char* suffix, ValueKind kind, double value) {
    return graph_.add_persistent(full + suffix, vector, kind, {Init::Kind::kConstant, value});
  };
  const ValueId gamma = constant(".weight", ValueKind::kParameter, gamma_init);
  const ValueId beta = constant(".bias", ValueKind::kParameter, 0);
  ValueId mean = constant(".running_mean", ValueKind::kBuffer, 0);
  ValueId variance = constant(".running_var", ValueKind::kBuffer, 1);
  if (mode_ == Mode::kTrain) {
    const std::vector<ValueId> stats =
        graph_.add_node(full, BatchNormStats{}, {src}, Phase::kForward, block_);
    mean = stats[0];
    variance = stats[1];
  }
  return append(name, BatchNormApply{}, {src, mean, variance, gamma, beta});
}

ValueId GraphBuilder::activation(ActivationKind kind, ValueId src, std::string_view name) {
  return append(name, Activation{kind}, {src});
}
ValueId GraphBuilder::add(ValueId a, ValueId b) {
  return append("", Add{}, {a, b});
}
ValueId GraphBuilder::multiply(ValueId a, ValueId b) {
  return append("", Multiply{}, {a, b});
}
ValueId GraphBuilder::scale(ValueId src, float factor, float offset, std::string_view name) {
  return append(name, Scale{factor, offset}, {src});
}
ValueId GraphBuilder::shortcut_a(ValueId src, int64_t stride, int64_t out_channels, ZeroChannels zeros) {
  return append("", ShortcutA{stride, out_channels, zeros}, {src});
}
ValueId GraphBuilder::concat(std::vector<ValueId> parts) {
  return append("", Concat{}, std::move(parts));
}
ValueId GraphBuilder::max_pool(ValueId src, int64_t window, int64_t stride, int64_t pad) {
  return append("", MaxPool{window, stride, pad}, {src});
}
ValueId GraphBuilder::avg_pool(ValueId src, int64_t window, int64_t stride, int64_t pad) {
  return append("", AvgPool{window, stride, pad}, {src});
}
ValueId GraphBuilder::global_avg_pool(ValueId src) {
  return append("", GlobalAvgPool{}, {src});
}

ValueId GraphBuilder::dropout(ValueId src, float probability) {
  const uint32_t stream = dropouts_++;
  if (mode_ == Mode::kEval || probability == 0) return src;
  return append("", Dropout{probability, stream}, {src});
}

ValueId GraphBuilder::block_gate(ValueId src, const BlockDraw& draw) {
  if (draw.share() == 1) return src;
  if (mode_ == Mode::kEval) return scale(src, draw.share(), 0, "block_gate");
  return append("", BlockGate{draw}, {src});
}

ValueId GraphBuilder::linear(std::string_view name, ValueId src, int64_t out_features,
                             LinearOptions options) {
  const int64_t in_features = shape(src).elements() / shape(src)[0];
  const Init uniform{Init::Kind::kUniform, 1.0 / std::sqrt(static_cast<double>(in_features))};
  const std::string full = scope_ + std::string(name);
  const Init start = options.weight_std > 0 ? Init{Init::Kind::kNormal, options.weight_std} : uniform;
  const ValueId weight = graph_.add_persistent(full + ".weight", {DType::kF32, {out_features, in_features}},
                                               ValueKind::kParameter, start);
  ValueId dst = append(name, Linear{out_features, options.logits ? DType::kF32 : activation_}, {src, weight});
  if (options.bias) {
    const Init init = options.constant_bias ? Init{Init::Kind::kConstant, options.bias_init} : uniform;
    const ValueId bias =
        graph_.add_persistent(full + ".bias", {DType::kF32, {out_features}}, ValueKind::kParameter, init);
    dst = append(name, Bias{}, {dst, bias});
  }
  return dst;
}

void GraphBuilder::classification_loss(ValueId logits, float smoothing) {
  const ValueId labels = input("labels", {DType::kI32, {shape(logits)[0]}});
  const std::vector<ValueId> results = graph_.add_node(scope_ + "loss", SoftmaxCrossEntropy{smoothing},
                                                       {logits, labels}, Phase::kForward, block_);
  graph_.outputs["logits"] = logits;
  graph_.outputs["loss"] = results[0];
  graph_.outputs["counts"] = results[1];
}

std::string GraphBuilder::set_scope(std::string scope) {
  return std::exchange(scope_, std::move(scope));
}

void GraphBuilder::begin_block(std::string name, ValueId input) {
  if (block_ != kNone) {
    fail(ErrorKind::kInternal, "block '{}' begins inside block '{}'", name, graph_.blocks.back().name);
  }
  block_ = static_cast<int>(graph_.blocks.size());
  graph_.blocks.push_back({std::move(name), input, kNone});
}

void GraphBuilder::end_block(ValueId output) {
  check(block_ != kNone, ErrorKind::kInternal, "end_block without begin_block");
  graph_.blocks.back().output = output;
  block_ = kNone;
}

Graph GraphBuilder::take() {
  if (block_ != kNone) fail(ErrorKind::kInternal, "block '{}' was not ended", graph_.blocks.back().name);
  graph_.validate("build");
  return std::move(graph_);
}

}  // namespace residuum
