// Makes the table of convolution launchers of one element type and kind of product.
#pragma once

#include "kernels/conv.cuh"
#include "kernels/conv_backward_filter.cuh"
#include "kernels/conv_types.h"

namespace residuum::kernels {

template <typename T, F32Math kMath>
struct ConvInstances {
  static void forward(const ConvProblem& problem, const void* src, const void* weight, void* dst,
                      Element dst_type, Stream stream) {
    launch_conv<T, kMath, false>(problem, static_cast<const T*>(src), static_cast<const T*>(weight),
                                 StoreEpilogue<T>{dst, dst_type == Element::kF32}, stream);
  }
  static void backward_data(const ConvProblem& problem, const void* d_dst, const void* weight, void* d_src,
                            Stream stream) {
    launch_conv<T, kMath, true>(problem, static_cast<const T*>(d_dst), static_cast<const T*>(weight),
                                StoreEpilogue<T>{d_src, false}, stream);
  }
  static void backward_filter(const ConvProblem& problem, const void* d_dst, const void* src, float* partial,
                              Stream stream) {
    launch_filter<T, kMath>(problem, static_cast<const T*>(d_dst), static_cast<const T*>(src), partial,
                            stream);
  }
  static constexpr ConvLaunchers kTable{forward, backward_data, backward_filter};
};

}  // namespace residuum::kernels
