// Convolutions in f32, products in TF32.
#include "kernels/conv_instances.cuh"

namespace residuum::kernels {

const ConvLaunchers kConvTf32 = ConvInstances<float, F32Math::kTf32>::kTable;

}  // namespace residuum::kernels
