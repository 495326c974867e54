// Element-wise operations, the bias and dropout against the references.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/op/op_shapes.h"
#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

/// Runs one case for every shape and activation type; `make(shape, type)` builds it.
template <typename Make>
void expect_for_all(const Make& make) {
  for (const Shape& shape : kActivationShapes) {
    for (const DType type : activation_types()) expect_case(make(shape, type));
  }
}

Tolerance activation_tolerance(ActivationKind kind, DType type) {
  if (kind == ActivationKind::kRelu) return kExact;
  return type == DType::kF32 ? kFunctionF32 : rounded_tolerance(type);
}

TEST(OpElementwise, Normalize) {
  for (const Shape& shape : kActivationShapes) {
    for (const DType type : activation_types()) {
      Normalize op{.mean = {}, .std = {}, .dtype = type};
      for (int64_t c = 0; c < shape[3]; ++c) {
        op.mean.push_back(0.4f + 0.01f * static_cast<float>(c % 7));
        op.std.push_back(0.2f + 0.01f * static_cast<float>(c % 5));
      }
      OpCase test{to_string(shape), op, {}, {rounded_tolerance(type)}};
      test.scale = 2;  // a pixel near the mean is the difference of values near 2
      expect_case(test.input(DType::kU8, integer_tensor(shape, 1, 256)));
    }
  }
}

TEST(OpElementwise, Activation) {
  for (const ActivationKind kind : {ActivationKind::kRelu, ActivationKind::kSigmoid, ActivationKind::kTanh}) {
    expect_for_all([&](const Shape& shape, DType type) {
      OpCase test{to_string(shape), Activation{kind}, {}, {activation_tolerance(kind, type)}};
      return test.input(type, uniform_tensor(shape, 1, -4, 4));
    });
  }
}

TEST(OpElementwise, ActivationOfExtremeValues) {
  for (const ActivationKind kind : {ActivationKind::kRelu, ActivationKind::kSigmoid, ActivationKind::kTanh}) {
    for (const DType type : activation_types()) {
      const double huge = type == DType::kF16 ? 6e4 : 1e30, tiny = type == DType::kF16 ? 1e-7 : 1e-30;
      const reference::Tensor extremes({1, 1, 4, 4}, {-huge, -100, -88.5, -40, -17, -9, -tiny, 0,  //
                                                      tiny, 1e-4, 0.3, 9, 17, 40, 88.5, huge});
      OpCase test{"extremes", Activation{kind}, {}, {activation_tolerance(kind, type)}};
      expect_case(test.input(type, extremes));
    }
  }
}

TEST(OpElementwise, ActivationBackward) {
  for (const ActivationKind kind : {ActivationKind::kRelu, ActivationKind::kSigmoid, ActivationKind::kTanh}) {
    expect_for_all([&](const Shape& shape, DType type) {
      OpCase test{to_string(shape), ActivationBackward{kind}, {}, {rounded_tolerance(type)}};
      const reference::Tensor dst = reference::activation(kind, uniform_tensor(shape, 1, -4, 4));
      return test.input(type, uniform_tensor(shape, 2)).input(type, dst);
    });
  }
}

TEST(OpElementwise, AddMultiplyScale) {
  expect_for_all([](const Shape& shape, DType type) {
    OpCase test{to_string(shape), Add{}, {}, {rounded_tolerance(type)}};
    return test.input(type, uniform_tensor(shape, 1)).input(type, uniform_tensor(shape, 2));
  });
  expect_for_all([](const Shape& shape, DType type) {
    OpCase test{to_string(shape), Multiply{}, {}, {rounded_tolerance(type)}};
    return test.input(type, uniform_tensor(shape, 1)).input(type, uniform_tensor(shape, 2));
  });
  expect_for_all([](const Shape& shape, DType type) {
    OpCase test{to_string(shape), Scale{-1.75f, 0.5f}, {}, {rounded_tolerance(type)}};
    test.scale = 1;  // -1.75 x + 0.5 may cancel
    return test.input(type, uniform_tensor(shape, 1));
  });
}

TEST(OpElementwise, Bias) {
  expect_for_all([](const Shape& shape, DType type) {
    OpCase test{to_string(shape), Bias{}, {}, {rounded_tolerance(type)}};
    return test.input(type, uniform_tensor(shape, 1)).input(DType::kF32, uniform_tensor({shape[3]}, 2));
  });
  expect_for_all([](const Shape& shape, DType type) {
    OpCase test{to_string(shape), BiasBackward{}, {}, {summed_f32(shape.elements() / shape[3])}};
    return test.input(type, uniform_tensor(shape, 1));
  });
}

TEST(OpElementwise, BiasOfRowsOfFeatures) {
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 10}, Shape{37, 17}, Shape{70, 1000}}) {
    for (const DType type : activation_types()) {
      OpCase forward{to_string(shape), Bias{}, {}, {rounded_tolerance(type)}};
      expect_case(
          forward.input(type, uniform_tensor(shape, 1)).input(DType::kF32, uniform_tensor({shape[1]}, 2)));
      OpCase backward{to_string(shape), BiasBackward{}, {}, {summed_f32(shape[0])}};
      expect_case(backward.input(type, uniform_tensor(shape, 1)));
    }
  }
}

TEST(OpElementwise, Dropout) {
  expect_for_all([](const Shape& shape, DType type) {
    OpCase test{to_string(shape), Dropout{0.3f, 5}, {}, {rounded_tolerance(type)}};
    test.params = {.seed = 0x123456789abcdef0, .step = 41, .micro_step = 3};
    return test.input(type, uniform_tensor(shape, 1));
  });
}

TEST(OpElementwise, DropoutMaskDependsOnEverything) {
  const reference::Tensor ones({4, 8, 8, 16}, std::vector<double>(4096, 1.0));
  const auto mask = [&](const Dropout& op, const StepParams& params) {
    return reference::dropout(op, ones, params).data;
  };
  const StepParams base{.seed = 1, .step = 2, .micro_step = 0};
  const auto kept = mask({0.25f, 0}, base);
  EXPECT_NE(mask({0.25f, 1}, base), kept);
  EXPECT_NE(mask({0.25f, 0}, {.seed = 3, .step = 2, .micro_step = 0}), kept);
  EXPECT_NE(mask({0.25f, 0}, {.seed = 1, .step = 3, .micro_step = 0}), kept);
  EXPECT_NE(mask({0.25f, 0}, {.seed = 1, .step = 2, .micro_step = 1}), kept);
  const auto zeros = std::count(kept.begin(), kept.end(), 0.0);
  EXPECT_NEAR(static_cast<double>(zeros), 1024,
              5 * std::sqrt(4096 * 0.25 * 0.75));  // five standard deviations
}

TEST(OpElementwise, BlockGate) {
  constexpr BlockDraw kDraws[] = {{7, 9, 0, 0.5f}, {6, 9, 4}, {0, 1, 0, 0.25f}, {53, 54, 23}};
  for (const BlockDraw& draw : kDraws) {
    for (uint64_t step = 40; step < 44; ++step) {
      for (const DType type : activation_types()) {
        OpCase test{fmt::format("gate {} in step {}", draw.block, step), BlockGate{draw}, {}, {kExact}};
        test.params = {.seed = 0x123456789abcdef0, .step = step, .micro_step = 3};
        expect_case(test.input(type, uniform_tensor({3, 5, 7, 3}, 1)));
      }
    }
  }
}

TEST(OpElementwise, GatesOpenAsOftenAsTheyShould) {
  constexpr uint32_t kBlocks = 54, kOpen = 23, kSteps = 4000;
  const auto is_open = [](const BlockDraw& draw, uint64_t step) {
    const reference::Tensor one({1}, std::vector<double>{1.0});
    return reference::block_gate({draw}, one, {.seed = 9, .step = step}).data[0] == 1;
  };
  std::vector<int> sampled(kBlocks, 0), free(kBlocks, 0);
  for (uint64_t step = 0; step < kSteps; ++step) {
    uint32_t open = 0;
    for (uint32_t block = 0; block < kBlocks; ++block) {
      const bool now = is_open({block, kBlocks, kOpen}, step);
      ASSERT_EQ(now, block_is_open({block, kBlocks, kOpen}, 9, step, 0));
      open += now;
      sampled[block] += now;
      free[block] += is_open({block, kBlocks, 0, 0.8f}, step);
    }
    ASSERT_EQ(open, kOpen) << "step " << step;
  }
  const double share = double{kOpen} / kBlocks;
  for (uint32_t block = 0; block < kBlocks; ++block) {  // five standard deviations
    EXPECT_NEAR(sampled[block], kSteps * share, 5 * std::sqrt(kSteps * share * (1 - share)));
    EXPECT_NEAR(free[block], kSteps * 0.8, 5 * std::sqrt(kSteps * 0.8 * 0.2));
  }
}

}  // namespace
}  // namespace residuum
