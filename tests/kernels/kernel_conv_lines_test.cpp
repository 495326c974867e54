// The forward pass of few channels that cuts its pixels out of whole source lines (kConvLines), directly:
// small integers, whose products and sums are exact, so that the results must be the reference's bit for bit;
// and numbers that are none, which may reach the pixels whose taps see them and no others.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <tuple>

#include "kernels/conv/geometry.h"
#include "tests/kernels/conv_shapes.h"
#include "tests/kernels/kernel_case.h"

namespace residuum {
namespace {

using kernels::ConvPass;
using kernels::ConvProblem;
using kernels::ConvResult;
using kernels::ConvSource;
using kernels::Element;
using kernels::Form;
using kernels::TileName;
using reference::Tensor;

/// Under the race detector, runs of tiles in which all memory is used again, but no longer ones.
constexpr int64_t kMostRaceMacs = 100 << 20;
constexpr int kRows = kernels::tile_of(TileName::kConvLines).rows;

/// NaN as a number that nothing else is: comparisons are relative to the largest value.
Tensor numbered(Tensor tensor) {
  for (double& value : tensor.data) value = std::isnan(value) ? 4096 : value;
  return tensor;
}

void expect_exact(const ConvShape& s, DType type, const Tensor& src, size_t most_orders) {
  SCOPED_TRACE(fmt::format("{}x{}x{}x{} -> {} kernel {}x{} stride {} pad {}, {}", s.n, s.h, s.w, s.c, s.k,
                           s.r, s.s, s.stride, s.pad, to_string(type)));
  const ConvProblem problem{s, element_of(type), {}, static_cast<int>(TileName::kConvLines)};
  const Tensor weight = small_integers({s.k, s.r, s.s, s.c}, 3);
  KernelCase test;
  ConvSource from;
  from.a = test.tensor(type, src);
  const void* const factors = test.tensor(type, weight);
  const Shape shape{s.n, s.p(), s.q(), s.k};
  ConvResult stored, wide;
  stored.dst = test.output(type, shape), stored.type = problem.type;
  wide.dst = test.output(DType::kF32, shape), wide.type = Element::kF32;
  test.run(
      [&] {
        conv_forward(problem, from, factors, stored, nullptr);
        conv_forward(problem, from, factors, wide, nullptr);
      },
      most_orders);
  const Tensor expected = numbered(reference::conv({s.k, s.r, s.s, s.stride, s.pad, 1}, src, weight));
  EXPECT_TRUE(matches(numbered(test.read(stored.dst, type, shape)), rounded_to(type, expected), kExact));
  EXPECT_TRUE(matches(numbered(test.read(wide.dst, DType::kF32, shape)), expected, kExact));
}

TEST(KernelConvLines, ShapesCoverEveryKind) {
  std::set<std::tuple<int, bool>> windows;
  std::set<bool> whole_lines;
  int longest = 0;
  for (const ConvShape& s : kLineShapes) {
    const ConvProblem problem{s, Element::kBF16, {}};
    EXPECT_EQ(kernels::conv_tile(problem, ConvPass::kForward, Form::kStored), TileName::kConvLines);
    const kernels::ConvLines lines(s, kRows);
    windows.insert({lines.groups, lines.shifted});
    whole_lines.insert(lines.line % 8 == 0);
    longest = std::max(longest, kernels::conv_geometry(problem, ConvPass::kForward, Form::kStored).run);
  }
  EXPECT_EQ(windows.size(), 2u * kernels::kMostLineGroups);
  EXPECT_EQ(whole_lines.size(), 2u);
  EXPECT_GT(longest, 3) << "no block uses its tables twice";
}

TEST(KernelConvLines, IntegersAreExact) {
  for (const DType type : {DType::kBF16, DType::kF16}) {
    if (!is_worth_running(type)) continue;
    for (const ConvShape& s : kLineShapes) {
      const bool large = s.macs() > kMostMacs;
      if (large && type != DType::kBF16) continue;
      if (under_race_detector() && s.macs() > kMostRaceMacs) continue;
      expect_exact(s, type, small_integers({s.n, s.h, s.w, s.c}, 1), large ? 1 : 2);
    }
  }
}

/// Weights that fill a window's last group are zeros, and zero times what lies behind the window would be
/// NaN.
TEST(KernelConvLines, NotANumberStaysInItsTaps) {
  if (under_race_detector()) GTEST_SKIP() << kSeenElsewhere;
  for (const ConvShape& s : kLineShapes) {
    if (s.macs() > kMostMacs) continue;
    Tensor src = small_integers({s.n, s.h, s.w, s.c}, 1);
    for (int64_t i = 0; i < src.elements(); i += 23) src[i] = NAN;
    expect_exact(s, DType::kBF16, src, 1);
  }
}

/// Lines of two neighbouring tiles fit the ring, and chunks of a line lie as they do in the source.
TEST(KernelConvLines, RingHoldsTwoTiles) {
  std::vector<ConvShape> shapes = kLineShapes;
  shapes.insert(shapes.end(), {{3, 224, 224, 3, 64, 7, 7, 2, 3, 1},
                               {5, 32, 32, 3, 16, 3, 3, 1, 1, 1},
                               {7, 37, 53, 3, 64, 7, 7, 2, 3, 1}});
  for (const ConvShape& s : shapes) {
    const kernels::ConvLines lines(s, kRows);
    const int64_t pixels = s.n * s.p() * s.q();
    const auto line_of = [&](int64_t pixel) {
      return pixel / (s.p() * s.q()) * lines.image_lines + pixel / s.q() % s.p() * s.stride;
    };
    for (int64_t first = 0; first < pixels; first += kRows) {
      const int64_t last = std::min(first + 2 * kRows, pixels) - 1;
      ASSERT_LE(line_of(last) + s.r - line_of(first), lines.slots) << s.n << "x" << s.h << "x" << s.w;
    }
    for (int64_t image = 0; image < s.n; ++image) {
      for (int64_t h = 0; h < s.h; ++h) {
        const int64_t slot = (image * lines.image_lines + h + s.pad) % lines.slots;
        ASSERT_EQ((lines.first + slot * lines.pitch + lines.lead) % 8, (image * s.h + h) * s.w * s.c % 8);
      }
    }
  }
}

TEST(KernelConvLines, OthersDoNotSuit) {
  const auto suits = [](const ConvShape& s, Element type = Element::kBF16) {
    return kernels::conv_tile_suits({s, type, {}}, ConvPass::kForward, Form::kStored, TileName::kConvLines);
  };
  EXPECT_TRUE(suits({1, 8, 8, 3, 16, 3, 3, 1, 1, 1}));
  EXPECT_FALSE(suits({1, 8, 8, 3, 16, 3, 3, 1, 1, 1}, Element::kF32));
  EXPECT_FALSE(suits({1, 8, 8, 8, 16, 3, 3, 1, 1, 1})) << "whole chunks of channels";
  EXPECT_FALSE(suits({1, 8, 8, 3, 12, 3, 3, 1, 1, 1})) << "results that are no whole chunks";
  EXPECT_FALSE(suits({1, 8, 8, 6, 16, 3, 3, 1, 1, 2})) << "groups";
  EXPECT_FALSE(suits({1, 7, 9, 3, 16, 3, 3, 1, 1, 1})) << "a source that is no whole chunks";
  EXPECT_FALSE(suits({1, 8, 8, 3, 16, 9, 9, 1, 4, 1})) << "windows of four groups";
  EXPECT_FALSE(suits({1, 8, 8, 3, 16, 2, 2, 3, 1, 1})) << "pixels between the taps";
  EXPECT_FALSE(suits({1, 64, 16384, 3, 16, 3, 3, 1, 1, 1})) << "lines that do not fit";
  EXPECT_FALSE(kernels::conv_tile_suits({{1, 8, 8, 3, 16, 3, 3, 1, 1, 1}, Element::kBF16, {}},
                                        ConvPass::kBackwardData, Form::kStored, TileName::kConvLines));
}

}  // namespace
}  // namespace residuum
