// Makes the table of convolution launchers of one element type and kind of product.
#pragma once

#include "kernels/conv/conv.cuh"
#include "kernels/conv/types.h"
#include "kernels/conv_backward_filter/conv_backward_filter.cuh"

namespace residuum::kernels {

template <typename T, F32Math kMath>
inline constexpr ConvLaunchers kConvInstances{launch_conv<T, kMath, ConvPass::kForward>,
                                              launch_conv<T, kMath, ConvPass::kBackwardData>,
                                              launch_filter<T, kMath>};

}  // namespace residuum::kernels
