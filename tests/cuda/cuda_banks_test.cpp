// How convolutions read their tiles from shared memory: the eight rows of a matrix that ldmatrix loads lie in
// different banks, wherever a tap is outside of the image, in lines shorter than those rows too.
#include <gtest/gtest.h>

#include "kernels/conv/geometry.h"
#include "kernels/conv_backward_filter/tiles.h"
#include "tests/emulator/execution.h"
#include "tests/emulator/options.h"
#include "tests/emulator/traffic.h"
#include "tests/kernels/conv_shapes.h"
#include "tests/kernels/kernel_case.h"

namespace residuum {
namespace {

using kernels::ConvPass;
using kernels::ConvProblem;
using kernels::ConvSource;
using kernels::Element;
using kernels::Form;
using kernels::Patch;
using kernels::TileName;
using reference::Tensor;

/// What `launch` loads.
emulator::MatrixLoads loads_of(KernelCase& test, const std::function<void()>& launch) {
  emulator::options().record_launches = true;
  emulator::clear_launch_records();
  test.run(launch, 1);
  const emulator::MatrixLoads loads = emulator::matrix_loads();
  emulator::options().record_launches = false;
  return loads;
}

/// 3x3 taps over lines of four pixels: whole tiles of rows, as those behind the last one lie anywhere.
ConvProblem small_problem(int64_t channels, int64_t stride) {
  const int64_t extent = 4 * stride;
  return {{16, extent, extent, channels, channels, 3, 3, stride, 1, 1}, Element::kBF16, {}};
}

emulator::MatrixLoads loads_of_conv(const ConvProblem& problem, ConvPass pass) {
  const ConvShape& s = problem.shape;
  const bool forward = pass == ConvPass::kForward;
  KernelCase test;
  ConvSource source;
  source.a = test.tensor(DType::kBF16, small_integers({s.n, s.h, s.w, s.c}, 3));
  const void* const weight = test.tensor(DType::kBF16, small_integers({s.k, s.r, s.s, s.c}, 5));
  kernels::ConvResult result;
  result.dst = test.output(DType::kBF16, {s.n, s.h, s.w, s.c});
  result.type = problem.type;
  return loads_of(test, [&] {
    forward ? conv_forward(problem, source, weight, result, nullptr)
            : conv_backward_data(problem, source, weight, result, nullptr);
  });
}

TEST(CudaBanks, PixelsOfAPatchForAllTaps) {
  for (const int64_t channels : {16, 32, 64, 128}) {
    const ConvProblem problem = small_problem(channels, 1);
    for (const ConvPass pass : {ConvPass::kForward, ConvPass::kBackwardData}) {
      SCOPED_TRACE(fmt::format("{} channels, pass {}", channels, static_cast<int>(pass)));
      EXPECT_NE(kernels::conv_geometry(problem, pass, Form::kStored).patch, Patch::kGather);
      const emulator::MatrixLoads loads = loads_of_conv(problem, pass);
      EXPECT_GT(loads.matrices, 0u);
      EXPECT_EQ(loads.accesses, loads.matrices);
    }
  }
}

TEST(CudaBanks, PixelsOfARingForAllTaps) {
  for (const TileName tile : {TileName::kFilterTaps, TileName::kFilterTapsBroad, TileName::kFilterTapsSlim,
                              TileName::kFilterTapsStrided}) {
    SCOPED_TRACE(fmt::format("tile {}", static_cast<int>(tile)));
    ConvProblem problem = small_problem(32, kernels::taps_stride(tile));
    problem.tile = static_cast<int>(tile);
    const ConvShape& s = problem.shape;
    KernelCase test;
    kernels::FilterLayer layer;
    layer.d_dst.a = test.tensor(DType::kBF16, small_integers({s.n, s.p(), s.q(), s.k}, 3));
    layer.src.a = test.tensor(DType::kBF16, small_integers({s.n, s.h, s.w, s.c}, 5));
    layer.d_weight = test.output<float>(static_cast<size_t>(s.weight_elements()) * sizeof(float));
    void* const workspace = test.workspace(conv_backward_filter_workspace(problem, false));
    unsigned* const counters = test.values<unsigned>(
        std::vector<unsigned>(static_cast<size_t>(conv_backward_filter_counters(problem))));
    const emulator::MatrixLoads loads = loads_of(test, [&] {
      conv_backward_filter(problem, {&layer, 1}, workspace, counters, nullptr);
    });
    EXPECT_GT(loads.matrices, 0u);
    EXPECT_EQ(loads.accesses, loads.matrices);
  }
}

}  // namespace
}  // namespace residuum
