// Fused convolutions against the separate launchers on the same data: every form of a source in every tile
// and kind of patch, the formed tensor and its mask where they are stored, and padding, which stays zero.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "tests/kernels/conv_fused_case.h"

namespace residuum {
namespace {

using kernels::ConvPass;
using kernels::ConvProblem;
using kernels::ConvResult;
using kernels::ConvSource;
using kernels::Element;
using kernels::Form;
using reference::Tensor;

constexpr size_t kOrders = 3;

/// A form with its variants.
struct FormCase {
  Form form;
  bool relu = true, b_norm = false;
};

/// Runs conv_forward on a formed source and on what batch_norm_apply makes of the same tensors.
void expect_forward(const ConvProblem& problem, DType type, const FormCase& c) {
  const ConvShape& s = problem.shape;
  const Shape in = src_shape(s), out = dst_shape(s);
  const kernels::Rows rows = rows_of(in, problem.type);
  KernelCase test;
  const void* const weight = test.tensor(type, small_integers(weight_shape(s), 3));
  ConvSource source;
  source.form = c.form;
  source.a = test.tensor(type, small_integers(in, 1));
  source.vectors = IntegerNorm(s.c, 10).on(test);
  source.relu = c.relu;
  kernels::BatchNormApplyArgs apply;
  apply.src = source.a, apply.vectors = source.vectors, apply.relu = c.relu;
  apply.dst = test.output(type, in);
  kernels::BatchNormApplyArgs shortcut;
  if (c.form == Form::kJoin) {
    apply.addend = source.b = test.tensor(type, small_integers(in, 2));
    if (c.b_norm) {
      shortcut.src = source.b, shortcut.vectors = source.b_vectors = IntegerNorm(s.c, 20).on(test);
      apply.addend = shortcut.dst = test.output(type, in);
    }
  }
  const bool masked = c.relu && conv_can_store(problem, true);
  if (conv_can_store(problem, masked)) {
    source.dst = test.output(type, in);
    if (masked) {
      apply.mask = test.output<uint8_t>(static_cast<size_t>(mask_bytes(rows)));
      source.mask = test.output<uint8_t>(static_cast<size_t>(mask_bytes(rows)));
    }
  }
  ConvResult fused, separate;
  fused.type = separate.type = problem.type;
  fused.dst = test.output(type, out), separate.dst = test.output(type, out);
  ConvSource formed;
  formed.a = apply.dst;
  ConvProblem usual = problem;
  usual.tile = -1;
  test.run(
      [&] {
        if (c.b_norm) batch_norm_apply(rows, shortcut, nullptr);
        batch_norm_apply(rows, apply, nullptr);
        conv_forward(usual, formed, weight, separate, nullptr);
        conv_forward(problem, source, weight, fused, nullptr);
      },
      kOrders);
  EXPECT_TRUE(matches(test.read(fused.dst, type, out), test.read(separate.dst, type, out), kExact));
  if (source.dst != nullptr) {
    EXPECT_EQ(test.bytes(source.dst) == test.bytes(apply.dst), true) << "the formed tensor";
  }
  if (masked) {
    EXPECT_EQ(test.bytes(source.mask) == test.bytes(apply.mask), true) << "the mask";
  }
}

TEST(KernelConvFused, CasesCoverEveryTileAndPatch) {
  for (const ConvPass pass : {ConvPass::kForward, ConvPass::kBackwardData}) {
    for (const Form form : {Form::kApply, Form::kJoin, Form::kGradient, Form::kConcat}) {
      const bool backward = form == Form::kGradient || form == Form::kConcat;
      if (backward != (pass == ConvPass::kBackwardData)) continue;
      std::set<std::pair<int, kernels::Patch>> seen;
      bool one_patch = false;
      for (const ConvShape& shape : form == Form::kConcat ? kConcatShapes : kFusedShapes) {
        for (const Element type : {Element::kBF16, Element::kF32}) {
          ConvProblem problem{shape, type, kernels::F32Math::kTf32x3};
          for (const kernels::TileName tile : kernels::conv_tiles(problem, pass, form)) {
            problem.tile = static_cast<int>(tile);
            const kernels::ConvGeometry g = kernels::conv_geometry(problem, pass, form);
            seen.insert({problem.tile, g.patch});
            one_patch |= g.patch == kernels::Patch::kResident && g.patch_slots == 1 &&
                         g.depth > kernels::tile_of(tile).depth;
          }
        }
      }
      // One tensor: all but the two packed tiles; two: neither of the tiles that are too deep for them; two
      // side by side: not those for two, and no patch for several taps. Medium tiles and those of f32 have
      // three kinds of patches, wide and small ones two.
      const std::map<Form, size_t> tiles = {{Form::kApply, 3 * 3 + 2 * 4},
                                            {Form::kJoin, 2 * 3 + 3 * 2},
                                            {Form::kGradient, 2 * 3 + 3 * 2},
                                            {Form::kConcat, 5}};
      EXPECT_EQ(seen.size(), tiles.at(form)) << "form " << static_cast<int>(form);
      const bool two_tensors = form == Form::kJoin || form == Form::kGradient;
      EXPECT_TRUE(one_patch || !two_tensors) << "no patch waits for the one before it";
    }
  }
}

TEST(KernelConvFused, AppliesABatchNorm) {
  for (const bool relu : {true, false}) {
    for_each_fused(ConvPass::kForward, Form::kApply, [&](const ConvProblem& problem, DType type) {
      expect_forward(problem, type, {Form::kApply, relu});
    });
  }
}

TEST(KernelConvFused, JoinsAShortcut) {
  for (const bool b_norm : {false, true}) {
    for_each_fused(ConvPass::kForward, Form::kJoin, [&](const ConvProblem& problem, DType type) {
      expect_forward(problem, type, {Form::kJoin, true, b_norm});
    });
  }
}

/// Backward-data gives the same result of `source` and, with the usual tile, of `stored`, which form() makes
/// of the same tensors.
void expect_backward(KernelCase& test, const ConvProblem& problem, DType type, const ConvSource& source,
                     const void* stored, const std::function<void()>& form) {
  const void* const weight = test.tensor(type, small_integers(weight_shape(problem.shape), 3));
  const Shape out = src_shape(problem.shape);
  ConvResult fused, separate;
  fused.type = separate.type = problem.type;
  fused.dst = test.output(type, out), separate.dst = test.output(type, out);
  ConvSource formed;
  formed.a = stored;
  ConvProblem usual = problem;
  usual.tile = -1;
  test.run(
      [&] {
        form();
        conv_backward_data(usual, formed, weight, separate, nullptr);
        conv_backward_data(problem, source, weight, fused, nullptr);
      },
      kOrders);
  EXPECT_TRUE(matches(test.read(fused.dst, type, out), test.read(separate.dst, type, out), kExact));
}

TEST(KernelConvFused, ReadsTheGradientOfABatchNorm) {
  for_each_fused(ConvPass::kBackwardData, Form::kGradient, [](const ConvProblem& problem, DType type) {
    const ConvShape& s = problem.shape;
    const Shape in = dst_shape(s);
    const kernels::Rows rows = rows_of(in, problem.type);
    KernelCase test;
    ConvSource source;
    source.form = Form::kGradient;
    source.a = test.tensor(type, small_integers(in, 1));
    source.b = test.tensor(type, small_integers(in, 2));
    source.vectors = IntegerNorm(s.k, 10).on(test);
    source.d_gamma = integer_sums(test, s.k, rows.rows, 30);
    source.d_beta = integer_sums(test, s.k, 2 * rows.rows, 31);
    void* const gradient = test.output(type, in);
    expect_backward(test, problem, type, source, gradient, [&] {
      batch_norm_backward_apply(rows, source.a, source.b, source.vectors, source.d_gamma, source.d_beta,
                                nullptr, gradient, nullptr);
    });
  });
}

/// [a | f(BN(b))] and [a | b] give the result of what copy_channels puts together.
void expect_concat(const ConvProblem& problem, DType type, bool norm, bool relu) {
  const ConvShape& s = problem.shape;
  const int64_t first = s.k - s.c;
  const Shape of_a{s.n, s.h, s.w, first}, of_b{s.n, s.h, s.w, s.c};
  KernelCase test;
  ConvSource source;
  source.form = Form::kConcat;
  source.a = test.tensor(type, small_integers(of_a, 1));
  source.b = test.tensor(type, small_integers(of_b, 2));
  source.relu = relu;
  if (norm) source.vectors = IntegerNorm(s.c, 10).on(test);
  kernels::BatchNormApplyArgs apply;
  apply.src = source.b, apply.vectors = source.vectors, apply.relu = relu;
  apply.dst = test.output(type, of_b);
  void* const both = test.output(type, dst_shape(s));
  const auto copy = [&](const void* src, int64_t channels, int64_t to) {
    kernels::CopyChannelsArgs args;
    args.rows = s.n * s.h * s.w, args.count = args.src_channels = channels;
    args.dst_channels = s.k, args.dst_first = to;
    args.type = problem.type, args.src = src, args.dst = both;
    copy_channels(args, nullptr);
  };
  expect_backward(test, problem, type, source, both, [&] {
    if (norm) batch_norm_apply(rows_of(of_b, problem.type), apply, nullptr);
    copy(source.a, first, 0);
    copy(norm ? apply.dst : source.b, s.c, first);
  });
}

TEST(KernelConvFused, ReadsTwoTensorsSideBySide) {
  for (const bool norm : {true, false}) {
    for_each_fused(ConvPass::kBackwardData, Form::kConcat,
                   [&](const ConvProblem& problem, DType type) { expect_concat(problem, type, norm, norm); });
  }
  expect_concat({kConcatShapes[1], Element::kBF16, {}}, DType::kBF16, true, false);
}

/// Values of all sizes and a NaN: what is stored has the bits of batch_norm_apply, and so has the mask.
TEST(KernelConvFused, StoresTheBitsOfTheSeparateKernels) {
  for (const DType type : conv_types()) {
    for (const bool join : {false, true}) {
      const ConvShape s{2, 5, 7, 24, 16, 3, 3, 1, 1, 1};
      const ConvProblem problem{s, element_of(type), kernels::F32Math::kTf32x3};
      const Shape in = src_shape(s);
      const kernels::Rows rows = rows_of(in, problem.type);
      KernelCase test;
      Tensor a = uniform_tensor(in, 1, -3, 3);
      a[17] = NAN;
      kernels::BatchNormApplyArgs apply;
      apply.src = test.tensor(type, a);
      if (join) apply.addend = test.tensor(type, uniform_tensor(in, 2));
      apply.vectors = {test.floats(uniform_tensor({s.c}, 11)), test.floats(uniform_tensor({s.c}, 12, 0.5, 2)),
                       test.floats(uniform_tensor({s.c}, 13)), test.floats(uniform_tensor({s.c}, 14)), 1e-5f};
      apply.relu = true;
      apply.dst = test.output(type, in);
      ConvSource source;
      source.form = join ? Form::kJoin : Form::kApply;
      source.a = apply.src, source.b = apply.addend, source.vectors = apply.vectors, source.relu = true;
      source.dst = test.output(type, in);
      if (type != DType::kF32) {
        apply.mask = test.output<uint8_t>(static_cast<size_t>(mask_bytes(rows)));
        source.mask = test.output<uint8_t>(static_cast<size_t>(mask_bytes(rows)));
      }
      const void* const weight = test.tensor(type, small_integers(weight_shape(s), 3));
      ConvResult result;
      result.type = problem.type;
      result.dst = test.output(type, dst_shape(s));
      test.run([&] {
        batch_norm_apply(rows, apply, nullptr);
        conv_forward(problem, source, weight, result, nullptr);
      });
      EXPECT_EQ(test.bytes(source.dst) == test.bytes(apply.dst), true) << "join " << join;
      if (source.mask != nullptr) {
        EXPECT_EQ(test.bytes(source.mask) == test.bytes(apply.mask), true) << "join " << join;
      }
    }
  }
}

TEST(KernelConvFused, ImpossibleFormsAreRefused) {
  KernelCase test;
  float* const floats = test.output<float>(1024);
  ConvSource source;
  source.a = source.b = floats;
  source.form = Form::kApply;
  source.vectors = {floats, floats, floats, floats, 0};
  ConvResult result;
  result.dst = floats;
  const auto forward = [&](const ConvShape& shape, const ConvSource& src, int tile = -1) {
    const ConvProblem problem{shape, Element::kBF16, {}, tile};
    return refusal([&] { conv_forward(problem, src, floats, result, nullptr); });
  };
  const ConvShape whole{1, 2, 2, 8, 8, 1, 1, 1, 0, 1};
  EXPECT_EQ(forward(whole, source), 0);
  EXPECT_EQ(forward({1, 2, 2, 6, 8, 1, 1, 1, 0, 1}, source), 1) << "no whole chunks";
  EXPECT_EQ(forward(whole, source, static_cast<int>(kernels::TileName::kConvPacked)), 1) << "a tile";
  ConvSource other = source;
  other.form = Form::kGradient;
  EXPECT_EQ(forward(whole, other), 1) << "a gradient in the forward pass";
  other = source;
  other.mask = reinterpret_cast<uint8_t*>(floats);
  EXPECT_EQ(forward(whole, other), 1) << "a mask without its tensor";
  other.dst = floats;
  EXPECT_EQ(forward(whole, other), 1) << "a mask without ReLU";
  other.relu = true;
  EXPECT_EQ(forward({1, 4, 4, 8, 8, 1, 1, 2, 0, 1}, other), 1) << "other output than source pixels";
  other = source;
  other.form = Form::kJoin;
  other.b = nullptr;
  EXPECT_EQ(forward(whole, other), 1) << "no shortcut";
  other = source;
  other.form = Form::kConcat;
  EXPECT_EQ(forward({1, 2, 2, 8, 16, 1, 1, 1, 0, 1}, other), 1) << "two tensors in the forward pass";
  const auto backward = [&](const ConvShape& shape, const ConvSource& d_dst) {
    return refusal([&] { conv_backward_data({shape, Element::kBF16, {}}, d_dst, floats, result, nullptr); });
  };
  EXPECT_EQ(backward({1, 2, 2, 8, 16, 1, 1, 1, 0, 1}, other), 0);
  EXPECT_EQ(backward(whole, other), 1) << "nothing is left for the first tensor";
  EXPECT_EQ(backward({1, 2, 2, 8, 20, 1, 1, 1, 0, 1}, other), 1) << "no whole chunks";
  EXPECT_EQ(backward({1, 2, 2, 8, 16, 3, 3, 1, 1, 1}, other), 1) << "a larger kernel";
  other.b = nullptr;
  EXPECT_EQ(backward({1, 2, 2, 8, 16, 1, 1, 1, 0, 1}, other), 1) << "no second tensor";
  EXPECT_EQ(backward(whole, source), 1) << "an activation in a backward pass";
}

}  // namespace
}  // namespace residuum
