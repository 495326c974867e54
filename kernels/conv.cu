// The convolution launchers: they check the problem and pick the element type; and the ordered sum of
// backward-filter's partial results.
#include "kernels/conv_geometry.h"
#include "kernels/conv_types.h"
#include "kernels/device/platform.cuh"

namespace residuum::kernels {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw LaunchError(1, "convolution: " + what);
}

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
void check(const ConvProblem& problem) {
  constexpr int64_t kMostPixels = int64_t{1} << 31, kMostExtent = 1 << 14;
  const ConvShape& s = problem.shape;
  if (s.groups < 1 || s.c % s.groups != 0 || s.k % s.groups != 0) {
    refuse(std::to_string(s.groups) + " groups do not divide " + std::to_string(s.c) + " and " +
           std::to_string(s.k) + " channels");
  }
  if (s.n < 1 || s.p() < 1 || s.q() < 1 || s.stride < 1) refuse("an extent is not positive");
  if (s.n * s.h * s.w >= kMostPixels || s.n * s.p() * s.q() >= kMostPixels) refuse("2^31 pixels or more");
  if (s.h > kMostExtent || s.w > kMostExtent) {
    refuse("an image of " + std::to_string(s.h) + "x" + std::to_string(s.w) + ", at most 16384x16384");
  }
  if (s.w * s.c >= kMostPixels || s.weight_elements() >= kMostPixels) refuse("2^31 elements in a row");
  if (s.groups * s.stride * s.stride > 65535) refuse("more than 65535 groups x stride x stride");
}

__global__ void __launch_bounds__(256)
    add_partials_kernel(const float* partial, int64_t elements, int pieces, float* sum) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i >= elements) return;
  float total = 0;
  for (int piece = 0; piece < pieces; ++piece) total += partial[piece * elements + i];
  sum[i] = total;
}

}  // namespace

void conv_forward(const ConvProblem& problem, const void* src, const void* weight, void* dst,
                  Element dst_type, Stream stream) {
  check(problem);
  if (dst_type != problem.type && dst_type != Element::kF32)
    refuse("the result has neither the type nor f32");
  launchers(problem).forward(problem, src, weight, dst, dst_type, stream);
}

void conv_backward_data(const ConvProblem& problem, const void* d_dst, const void* weight, void* d_src,
                        Stream stream) {
  check(problem);
  launchers(problem).backward_data(problem, d_dst, weight, d_src, stream);
}

size_t conv_backward_filter_workspace(const ConvProblem& problem) {
  const int pieces = filter_pieces(problem);
  return pieces == 1 ? 0 : static_cast<size_t>(pieces * problem.shape.weight_elements()) * sizeof(float);
}

void conv_backward_filter(const ConvProblem& problem, const void* d_dst, const void* src, float* d_weight,
                          void* workspace, Stream stream) {
  check(problem);
  const int pieces = filter_pieces(problem);
  float* const partial = pieces == 1 ? d_weight : static_cast<float*>(workspace);
  launchers(problem).backward_filter(problem, d_dst, src, partial, stream);
  if (pieces == 1) return;
  const int64_t elements = problem.shape.weight_elements();
  launch("conv_backward_filter_sum", add_partials_kernel, dim3(static_cast<unsigned>((elements + 255) / 256)),
         dim3(256), 0, stream, static_cast<const float*>(partial), elements, pieces, d_weight);
}

}  // namespace residuum::kernels
