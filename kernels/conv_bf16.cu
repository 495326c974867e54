// Convolutions in bf16.
#include "kernels/conv_instances.cuh"

namespace residuum::kernels {

const ConvLaunchers kConvBF16 = ConvInstances<bf16, F32Math::kTf32>::kTable;

}  // namespace residuum::kernels
