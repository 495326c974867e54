#include "models/layer_function.h"

#include "engine/core/check.h"

namespace residuum {

ValueId layer_function(GraphBuilder& builder, LayerFunction function, ValueId src) {
  switch (function) {
    case LayerFunction::kRelu:
      return builder.relu(src);
    case LayerFunction::kSigmoid:
      return builder.activation(ActivationKind::kSigmoid, src);
    case LayerFunction::kTanh:
      return builder.activation(ActivationKind::kTanh, src);
    case LayerFunction::kConcatRelu:
      return builder.concat({builder.relu(src), builder.relu(builder.scale(src, -1))});
  }
  fail(ErrorKind::kInternal, "unknown layer function {}", static_cast<int>(function));
}

int64_t filters_before(LayerFunction function, int64_t channels) {
  if (function != LayerFunction::kConcatRelu) return channels;
  check(channels % 2 == 0, ErrorKind::kConfig, "activation crelu doubles channels and cannot make {} of them",
        channels);
  return channels / 2;
}

}  // namespace residuum
