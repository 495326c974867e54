// Convolutions in f32, products of three in TF32.
#include "kernels/conv_instances/instances.cuh"

namespace residuum::kernels {

const ConvLaunchers kConvTf32x3 = kConvInstances<float, F32Math::kTf32x3>;

}  // namespace residuum::kernels
