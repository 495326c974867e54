// Convolutions in f32, products in TF32.
#include "kernels/conv_instances/instances.cuh"

namespace residuum::kernels {

const ConvLaunchers kConvTf32 = kConvInstances<float, F32Math::kTf32>;

}  // namespace residuum::kernels
