// The convolution launchers of one element type, each instantiated in a file of its own
// (conv_instances/bf16.cu, ...) so that they compile side by side; and what the launchers of every type
// share.
#pragma once

#include "kernels/launch.h"

namespace residuum::kernels {

struct ConvLaunchers {
  void (*forward)(const ConvProblem&, const ConvSource& src, const void* weight, const ConvResult& dst,
                  Stream);
  void (*backward_data)(const ConvProblem&, const ConvSource& d_dst, const void* weight,
                        const ConvResult& d_src, Stream);
  void (*backward_filter)(const ConvProblem&, std::span<const FilterLayer>, void* workspace,
                          unsigned* counters, Stream);
};

extern const ConvLaunchers kConvBF16, kConvF16, kConvTf32, kConvTf32x3;

/// Those of the problem's type.
const ConvLaunchers& conv_launchers(const ConvProblem& problem);
/// Throws LaunchError naming the extent of the problem that the kernels do not take.
void check_conv(const char* name, const ConvProblem& problem);

}  // namespace residuum::kernels
