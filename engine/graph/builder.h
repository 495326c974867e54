// GraphBuilder: writes a forward graph layer by layer, with torch's parameter names.
// Invariant: scope "layer1.0." + layer name "conv1" gives parameters "layer1.0.conv1.weight".
#pragma once

#include <string>
#include <string_view>

#include "engine/graph/graph.h"

namespace residuum {

enum class Mode : uint8_t {
  kTrain,  ///< batch statistics, dropout active
  kEval,   ///< running statistics, dropout is the identity
};

class GraphBuilder {
 public:
  GraphBuilder(Mode mode, DType activation) : mode_(mode), activation_(activation) {}

  Mode mode() const { return mode_; }
  Graph& graph() { return graph_; }
  /// Shape of a value.
  const Shape& shape(ValueId id) const { return graph_.desc(id).shape; }

  /// Input `images` u8 N,H,W,C and its normalised form in the activation type.
  ValueId images(int64_t n, int64_t h, int64_t w, int64_t c, std::vector<float> mean, std::vector<float> std);
  /// Input of any type and shape.
  ValueId input(std::string name, TensorDesc desc);

  struct ConvOptions {
    int64_t stride = 1, pad = 0, groups = 1;
    bool bias = false;
    double bias_init = 0;
  };
  /// Square-kernel convolution `name`.weight, Kaiming normal fan_out (He 2015b; torch's mode="fan_out").
  ValueId conv(std::string_view name, ValueId src, int64_t out_channels, int64_t kernel, ConvOptions options);
  /// Batch norm with torch's names (`name`.weight, .bias, .running_mean, .running_var), eps 1e-5, momentum
  /// 0.1.
  ValueId batch_norm(std::string_view name, ValueId src, double gamma_init = 1);
  /// `name`.bias, one a channel.
  ValueId bias(std::string_view name, ValueId src, double init = 0);
  /// An empty name: that of the operation; for the others of this kind too.
  ValueId activation(ActivationKind kind, ValueId src, std::string_view name = {});
  ValueId relu(ValueId src) { return activation(ActivationKind::kRelu, src); }
  ValueId add(ValueId a, ValueId b);
  ValueId multiply(ValueId a, ValueId b);
  ValueId scale(ValueId src, float factor, float offset = 0, std::string_view name = {});
  ValueId shortcut_a(ValueId src, int64_t stride, int64_t out_channels, ZeroChannels zeros);
  ValueId concat(std::vector<ValueId> parts);
  ValueId max_pool(ValueId src, int64_t window, int64_t stride, int64_t pad);
  ValueId avg_pool(ValueId src, int64_t window, int64_t stride, int64_t pad);
  ValueId global_avg_pool(ValueId src);
  ValueId dropout(ValueId src, float probability);
  /// A gate in training; else src times the gate's share, its mean over the steps (Huang 2016).
  ValueId block_gate(ValueId src, const BlockDraw& draw);
  struct LinearOptions {
    bool bias = true;
    double bias_init = 0;        ///< used when constant_bias
    bool constant_bias = false;  ///< else U(+-1/sqrt(fan_in)) as torch's nn.Linear
    bool logits = false;         ///< f32 result whatever the activation type
    double weight_std = 0;       ///< above 0: normal weights of that deviation, not uniform ones
  };
  /// Fully connected `name`.weight U(+-1/sqrt(fan_in)) and `name`.bias.
  ValueId linear(std::string_view name, ValueId src, int64_t out_features, LinearOptions options);
  /// Adds input `labels` i32 N, the loss, and the outputs "logits", "loss", "counts".
  void classification_loss(ValueId logits, float smoothing);

  /// Names of nodes and parameters get this prefix until it is changed; returns the previous one.
  std::string set_scope(std::string scope);
  /// Nodes added between begin and end belong to one block.
  void begin_block(std::string name, ValueId input);
  void end_block(ValueId output);

  /// The finished graph, validated.
  Graph take();

 private:
  ValueId append(std::string_view name, Op op, std::vector<ValueId> inputs);

  Mode mode_;
  DType activation_;
  Graph graph_;
  std::string scope_;
  int block_ = kNone;
  uint32_t dropouts_ = 0;
};

}  // namespace residuum
