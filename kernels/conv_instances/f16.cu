// Convolutions in f16.
#include "kernels/conv_instances/instances.cuh"

namespace residuum::kernels {

const ConvLaunchers kConvF16 = kConvInstances<f16, F32Math::kTf32>;

}  // namespace residuum::kernels
