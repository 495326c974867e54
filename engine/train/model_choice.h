// Choices among the variants of a model, shared by recipes, which spell them, and by the builders in models/.
#pragma once

#include <cstdint>

namespace residuum {

/// Where BN and ReLU of a residual block stand (He 2016, table 2).
enum class Placement : uint8_t {
  kOriginal,               ///< conv-BN-ReLU-conv-BN-(+)-ReLU (He 2015)
  kNormAfterAddition,      ///< conv-BN-ReLU-conv-(+)-BN-ReLU
  kReluBeforeAddition,     ///< conv-BN-ReLU-conv-BN-ReLU-(+)
  kReluOnlyPreActivation,  ///< ReLU-conv-BN-ReLU-conv-BN-(+)
  kPreActivation,          ///< BN-ReLU-conv-BN-ReLU-conv-(+), "full pre-activation"
};

/// A gate g = sigmoid(1x1 convolution of the block's input + bias) on each element (He 2016, table 1).
enum class ShortcutGate : uint8_t {
  kOff,
  kExclusive,     ///< (1 - g) shortcut + g branch
  kShortcutOnly,  ///< (1 - g) shortcut + branch
};

/// What stands where a net has its activations.
enum class LayerFunction : uint8_t {
  kRelu,
  kSigmoid,
  kTanh,
  kConcatRelu,  ///< [ReLU(x), ReLU(-x)] of half as many filters (Shang 2016)
};

/// What a highway layer carries of its input (Srivastava 2015).
enum class CarryGate : uint8_t {
  kCoupled,  ///< 1 - T, the rest of its transform gate
  kOwn,      ///< a gate with weights of its own
};

}  // namespace residuum
