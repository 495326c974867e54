// Convolutions in f32, products of three in TF32.
#include "kernels/conv_instances.cuh"

namespace residuum::kernels {

const ConvLaunchers kConvTf32x3 = ConvInstances<float, F32Math::kTf32x3>::kTable;

}  // namespace residuum::kernels
