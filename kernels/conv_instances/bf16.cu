// Convolutions in bf16.
#include "kernels/conv_instances/instances.cuh"

namespace residuum::kernels {

const ConvLaunchers kConvBF16 = kConvInstances<bf16, F32Math::kTf32>;

}  // namespace residuum::kernels
