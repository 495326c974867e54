// Convolution launchers, directly: forward and backward-data. Small integers, whose products and sums are
// exact in every type, so that the results must be the reference's bit for bit whatever the tile, the patch
// and the order of adding. The shapes cover every tile and every kind of patch, which the first test makes
// sure of.
#include <gtest/gtest.h>

#include <set>

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
using kernels::F32Math;
using kernels::Form;
using reference::Tensor;

struct Data {
  explicit Data(const ConvShape& s)
      : src(small_integers({s.n, s.h, s.w, s.c}, 1)),
        d_dst(small_integers({s.n, s.p(), s.q(), s.k}, 2)),
        weight(small_integers({s.k, s.r, s.s, s.c / s.groups}, 3)) {}
  Tensor src, d_dst, weight;
};

std::string text(const ConvProblem& p) {
  const ConvShape& s = p.shape;
  return fmt::format("{}x{}x{}x{} -> {} kernel {}x{} stride {} groups {}, {} bytes an element", s.n, s.h, s.w,
                     s.c, s.k, s.r, s.s, s.stride, s.groups, kernels::size_of(p.type));
}

void expect_exact(const ConvProblem& problem, DType type, const Data& data, size_t most_orders) {
  SCOPED_TRACE(text(problem));
  const ConvShape& s = problem.shape;
  KernelCase test;
  const void *const src = test.tensor(type, data.src), *const weight = test.tensor(type, data.weight),
                    *const d_dst = test.tensor(type, data.d_dst);
  void *const dst = test.output(type, data.d_dst.shape), *const d_src = test.output(type, data.src.shape);
  void* const logits = test.output(DType::kF32, data.d_dst.shape);
  const auto source = [](const void* tensor) {
    ConvSource from;
    from.a = tensor;
    return from;
  };
  const auto result = [](void* tensor, Element element) {
    ConvResult to;
    to.dst = tensor;
    to.type = element;
    return to;
  };
  ConvProblem early = problem;
  early.early_weights = true;
  test.run(
      [&] {
        conv_forward(early, source(src), weight, result(dst, problem.type), nullptr);
        conv_forward(problem, source(src), weight, result(logits, Element::kF32), nullptr);
        conv_backward_data(early, source(d_dst), weight, result(d_src, problem.type), nullptr);
      },
      most_orders);
  // Two of them have read the weights before they waited for the launch ahead, where they read all.
  const Conv op{s.k, s.r, s.s, s.stride, s.pad, s.groups};
  const Tensor forward = reference::conv(op, data.src, data.weight);
  EXPECT_TRUE(matches(test.read(dst, type, forward.shape), rounded_to(type, forward), kExact));
  EXPECT_TRUE(matches(test.read(logits, DType::kF32, forward.shape), forward, kExact));
  const Tensor backward = reference::conv_backward_data(s, data.d_dst, data.weight);
  EXPECT_TRUE(matches(test.read(d_src, type, data.src.shape), rounded_to(type, backward), kExact));
}

void expect_exact_for(DType type, F32Math math) {
  if (!is_worth_running(type, math)) GTEST_SKIP() << kSeenElsewhere;
  for (const ConvShape& shape : kConvShapes) {
    const bool large = shape.macs() > kMostMacs;
    if (large && (type != DType::kBF16 || under_race_detector())) continue;
    expect_exact({shape, element_of(type), math}, type, Data(shape), large ? 1 : 3);
  }
}

TEST(KernelConv, ShapesCoverEveryTileAndPatch) {
  std::set<std::pair<kernels::TileName, kernels::Patch>> patches;
  bool runs = false;
  for (const ConvShape& shape : kConvShapes) {
    for (const Element type : {Element::kBF16, Element::kF32}) {
      const ConvProblem problem{shape, type, F32Math::kTf32x3};
      for (const ConvPass pass : {ConvPass::kForward, ConvPass::kBackwardData}) {
        const kernels::ConvGeometry g = kernels::conv_geometry(problem, pass, Form::kStored);
        patches.insert({kernels::conv_tile(problem, pass, Form::kStored), g.patch});
        runs |= g.run > 1;
      }
    }
  }
  // Gathered patches, and those for all taps beside all weights or a ring of them: the wide tile has no room
  // for the former, small ones no use for the latter. Two tiles for any channels. (Those for forms apart,
  // and kConvLines.)
  EXPECT_EQ(patches.size(), 2u + 2 * 3u + 2 * 2u + 2u) << "a tile or a kind of patch is not covered";
  EXPECT_TRUE(runs) << "no block handles several tiles";
}

TEST(KernelConv, IntegersAreExactInBF16) {
  expect_exact_for(DType::kBF16, F32Math::kTf32x3);
}
TEST(KernelConv, IntegersAreExactInF16) {
  expect_exact_for(DType::kF16, F32Math::kTf32x3);
}
TEST(KernelConv, IntegersAreExactInTf32) {
  expect_exact_for(DType::kF32, F32Math::kTf32);
}
TEST(KernelConv, IntegersAreExactInF32) {
  expect_exact_for(DType::kF32, F32Math::kTf32x3);
}

TEST(KernelConv, ImpossibleProblemsAreRefused) {
  const auto forward = [](const ConvShape& shape) {
    return refusal([&] { kernels::conv_forward({shape, Element::kBF16, {}}, {}, nullptr, {}, nullptr); });
  };
  EXPECT_EQ(forward({1, 4, 4, 6, 8, 1, 1, 1, 0, 4}), 1);      // groups do not divide the channels
  EXPECT_EQ(forward({1, 2, 2, 8, 8, 3, 3, 1, 0, 1}), 1);      // the kernel does not fit
  EXPECT_EQ(forward({1, 20000, 4, 8, 8, 1, 1, 1, 0, 1}), 1);  // positions have 16 bits
}

}  // namespace
}  // namespace residuum
