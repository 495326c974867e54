// The convolution launchers: they check the problem and pick the element type; and the ordered sum of
// backward-filter's partial results.
#include "kernels/conv_geometry.h"
#include "kernels/conv_types.h"
#include "kernels/device/checks.cuh"
#include "kernels/device/platform.cuh"

namespace residuum::kernels {
namespace {

const ConvLaunchers& launchers(const ConvProblem& problem) {
  switch (problem.type) {
    case Element::kBF16:
      return kConvBF16;
    case Element::kF16:
      return kConvF16;
    case Element::kF32:
      break;
  }
  return problem.math == F32Math::kTf32 ? kConvTf32 : kConvTf32x3;
}

/// Pixels are counted in 32 bits and positions in 16; a row of elements is addressed with an int.
void check(const char* name, const ConvProblem& problem) {
  constexpr int64_t kMost = int64_t{1} << 31, kMostExtent = (1 << 14) + 1, kMostGrid = 65536;
  const ConvShape& s = problem.shape;
  require_positive(name, "batch", s.n);
  require_positive(name, "stride", s.stride);
  require_positive(name, "groups", s.groups);
  require_positive(name, "output height", s.p());
  require_positive(name, "output width", s.q());
  require(s.c % s.groups == 0 && s.k % s.groups == 0, name,
          std::to_string(s.groups) + " groups do not divide " + std::to_string(s.c) + " and " +
              std::to_string(s.k) + " channels");
  require_below(name, "height", s.h, kMostExtent);
  require_below(name, "width", s.w, kMostExtent);
  require_below(name, "number of source pixels", s.n * s.h * s.w, kMost);
  require_below(name, "number of output pixels", s.n * s.p() * s.q(), kMost);
  require_below(name, "elements of a source line", s.w * s.c, kMost);
  require_below(name, "number of weights", s.weight_elements(), kMost);
  require_below(name, "groups x stride x stride", s.groups * s.stride * s.stride, kMostGrid);
}

__global__ void __launch_bounds__(256)
    add_partials_kernel(const float* partial, int64_t elements, int pieces, float* sum) {
  grid_dependency_wait();
  grid_dependency_trigger();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i >= elements) return;
  float total = 0;
  for (int piece = 0; piece < pieces; ++piece) total += partial[piece * elements + i];
  sum[i] = total;
}

}  // namespace

void conv_forward(const ConvProblem& problem, const void* src, const void* weight, void* dst,
                  Element dst_type, Stream stream) {
  check("conv_forward", problem);
  require(dst_type == problem.type || dst_type == Element::kF32, "conv_forward",
          "the result has neither the problem's type nor f32");
  launchers(problem).forward(problem, src, weight, dst, dst_type, stream);
}

void conv_backward_data(const ConvProblem& problem, const void* d_dst, const void* weight, void* d_src,
                        Stream stream) {
  check("conv_backward_data", problem);
  launchers(problem).backward_data(problem, d_dst, weight, d_src, stream);
}

size_t conv_backward_filter_workspace(const ConvProblem& problem) {
  const int pieces = filter_pieces(problem);
  return pieces == 1 ? 0 : static_cast<size_t>(pieces * problem.shape.weight_elements()) * sizeof(float);
}

void conv_backward_filter(const ConvProblem& problem, const void* d_dst, const void* src, float* d_weight,
                          void* workspace, Stream stream) {
  check("conv_backward_filter", problem);
  const int pieces = filter_pieces(problem);
  float* const partial = pieces == 1 ? d_weight : static_cast<float*>(workspace);
  launchers(problem).backward_filter(problem, d_dst, src, partial, stream);
  if (pieces == 1) return;
  const int64_t elements = problem.shape.weight_elements();
  launch("conv_backward_filter_sum", add_partials_kernel, dim3(static_cast<unsigned>((elements + 255) / 256)),
         dim3(256), 0, stream, static_cast<const float*>(partial), elements, pieces, d_weight);
}

}  // namespace residuum::kernels
