// Highway layers (Srivastava 2015): y = H T + x C with H = f(W_H x + b_H), T = sigmoid(W_T x + b_T) and the
// carry gate C = 1 - T or a gate of its own. Parameters of layer NAME: NAME.h, NAME.t, and NAME.c for a carry
// gate of its own. Its gates are the nodes NAME.transform (T) and NAME.carry (C): who replaces the value of
// NAME.transform by zeros and of NAME.carry by ones makes the layer a copy of its input.
#pragma once

#include <string>

#include "engine/graph/builder.h"
#include "engine/train/model_choice.h"

namespace residuum {

struct HighwayStyle {
  LayerFunction function = LayerFunction::kRelu;  ///< of H; any but kConcatRelu
  double gate_bias = -2;                          ///< b_T at the start; a carry gate of its own gets -b_T
  CarryGate carry = CarryGate::kCoupled;
  bool plain = false;  ///< y = H: the plain twin
};

/// A block of one layer of `kernel` x `kernel` convolutions, for H and gates alike.
ValueId highway_conv(GraphBuilder& builder, const std::string& name, const HighwayStyle& style,
                     int64_t kernel, ValueId src);

/// A block of one fully connected layer on src N,C.
ValueId highway_linear(GraphBuilder& builder, const std::string& name, const HighwayStyle& style,
                       ValueId src);

/// Convolution `name` with bias `bias`; weights Kaiming normal fan_in: without BN a layer that widens must
/// not shrink its signal.
ValueId kaiming_conv(GraphBuilder& builder, const std::string& name, ValueId src, int64_t out_channels,
                     int64_t kernel, int64_t pad, double bias = 0);
/// Fully connected `name` with bias `bias`; weights Kaiming normal fan_in.
ValueId kaiming_linear(GraphBuilder& builder, const std::string& name, ValueId src, int64_t out_features,
                       double bias = 0);

}  // namespace residuum
