// The convolution launchers of one element type, each instantiated in a file of its own (conv_bf16.cu, ...)
// so that they compile side by side. Pointers are device addresses of the problem's type.
#pragma once

#include "kernels/launch.h"

namespace residuum::kernels {

struct ConvLaunchers {
  void (*forward)(const ConvProblem&, const void* src, const void* weight, void* dst, Element dst_type,
                  Stream);
  void (*backward_data)(const ConvProblem&, const void* d_dst, const void* weight, void* d_src, Stream);
  void (*backward_filter)(const ConvProblem&, const void* d_dst, const void* src, float* partial, Stream);
};

extern const ConvLaunchers kConvBF16, kConvF16, kConvTf32, kConvTf32x3;

}  // namespace residuum::kernels
