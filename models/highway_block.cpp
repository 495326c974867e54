#include "models/highway_block.h"

#include <cmath>

#include "models/layer_function.h"

namespace residuum {
namespace {

/// `affine(name, bias)` adds W x + b of src.
template <typename Affine>
ValueId highway_layer(GraphBuilder& builder, const std::string& name, const HighwayStyle& style, ValueId src,
                      const Affine& affine) {
  builder.begin_block(name, src);
  const std::string outer_scope = builder.set_scope(name + ".");
  ValueId dst = layer_function(builder, style.function, affine("h", 0));
  if (!style.plain) {
    const auto gate = [&](const char* weight, double bias, const char* node) {
      return builder.activation(ActivationKind::kSigmoid, affine(weight, bias), node);
    };
    const ValueId transform = gate("t", style.gate_bias, "transform");
    const ValueId carry = style.carry == CarryGate::kOwn ? gate("c", -style.gate_bias, "carry")
                                                         : builder.scale(transform, -1, 1, "carry");
    dst = builder.add(builder.multiply(dst, transform), builder.multiply(src, carry));
  }
  builder.set_scope(outer_scope);
  builder.end_block(dst);
  return dst;
}

}  // namespace

ValueId highway_conv(GraphBuilder& builder, const std::string& name, const HighwayStyle& style,
                     int64_t kernel, ValueId src) {
  const int64_t channels = builder.shape(src)[3];
  return highway_layer(builder, name, style, src, [&](const char* part, double bias) {
    return kaiming_conv(builder, part, src, channels, kernel, kernel / 2, bias);
  });
}

ValueId highway_linear(GraphBuilder& builder, const std::string& name, const HighwayStyle& style,
                       ValueId src) {
  const int64_t width = builder.shape(src)[1];
  return highway_layer(builder, name, style, src, [&](const char* part, double bias) {
    return kaiming_linear(builder, part, src, width, bias);
  });
}

ValueId kaiming_conv(GraphBuilder& builder, const std::string& name, ValueId src, int64_t out_channels,
                     int64_t kernel, int64_t pad, double bias) {
  const ValueId dst =
      builder.conv(name, src, out_channels, kernel, {.pad = pad, .bias = true, .bias_init = bias});
  Graph& graph = builder.graph();
  const auto producer = [&](ValueId id) -> const Node& { return graph.node(graph.value(id).producer); };
  const ValueId weight = producer(producer(dst).inputs[0]).inputs[1];
  const double fan_in = static_cast<double>(graph.desc(weight).elements() / out_channels);
  graph.inits.at(weight).value = std::sqrt(2.0 / fan_in);
  return dst;
}

ValueId kaiming_linear(GraphBuilder& builder, const std::string& name, ValueId src, int64_t out_features,
                       double bias) {
  const int64_t in_features = builder.shape(src).elements() / builder.shape(src)[0];
  return builder.linear(name, src, out_features,
                        {.bias_init = bias,
                         .constant_bias = true,
                         .weight_std = std::sqrt(2.0 / static_cast<double>(in_features))});
}

}  // namespace residuum
