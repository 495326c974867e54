// Batch normalisation against the references.
#include <gtest/gtest.h>

#include "tests/op/op_shapes.h"
#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using reference::Tensor;
using reference::Tensors;

/// A source with its own statistics, rounded to f32 as the graph stores them.
struct Data {
  Data(const Shape& shape, DType type)
      : src(rounded_to(type, uniform_tensor(shape, 1, -1, 3))),
        d_dst(rounded_to(type, uniform_tensor(shape, 2))),
        gamma(uniform_tensor({shape[3]}, 3, 0.5, 1.5)),
        beta(uniform_tensor({shape[3]}, 4)) {
    const Tensors stats = reference::batch_norm_stats(src);
    mean = stats[0];
    variance = stats[1];
  }
  Tensor src, d_dst, gamma, beta, mean, variance;
};

/// Where the channel has few values its variance may be tiny; a large epsilon keeps the test about the
/// formula.
constexpr float kEpsilon = 1e-2f;

TEST(OpNorm, Stats) {
  for (const Shape& shape : kActivationShapes) {
    for (const DType type : activation_types()) {
      OpCase test{to_string(shape), BatchNormStats{}, {}, {summed_f32(4)}};
      test.scale = 1;
      expect_case(test.input(type, Data(shape, type).src));
    }
  }
}

TEST(OpNorm, StatsOfALargeMean) {
  // The naive E[x^2] - E[x]^2 in f32 has no correct digit here.
  Tensor src = uniform_tensor({16, 7, 7, 5}, 1);
  for (double& value : src.data) value = 3000 + 0.5 * value;
  OpCase test{"mean 3000, deviation 0.3", BatchNormStats{}, {}, {summed_f32(4), summed_f32(16)}};
  expect_case(test.input(DType::kF32, src));
}

TEST(OpNorm, Apply) {
  for (const Shape& shape : kActivationShapes) {
    for (const DType type : activation_types()) {
      const Data data(shape, type);
      OpCase test{to_string(shape), BatchNormApply{kEpsilon}, {}, {rounded_tolerance(type)}};
      test.scale = 10;  // gamma * mean / std, the shift that is subtracted
      test.input(type, data.src).input(DType::kF32, data.mean).input(DType::kF32, data.variance);
      expect_case(test.input(DType::kF32, data.gamma).input(DType::kF32, data.beta));
    }
  }
}

TEST(OpNorm, BackwardReduce) {
  for (const Shape& shape : kActivationShapes) {
    for (const DType type : activation_types()) {
      const Data data(shape, type);
      OpCase test{
          to_string(shape), BatchNormBackwardReduce{kEpsilon}, {}, {summed_f32(shape.elements() / shape[3])}};
      test.scale = 1;
      test.input(type, data.d_dst).input(type, data.src);
      expect_case(test.input(DType::kF32, data.mean).input(DType::kF32, data.variance));
    }
  }
}

TEST(OpNorm, BackwardApply) {
  for (const Shape& shape : kActivationShapes) {
    for (const DType type : activation_types()) {
      const Data data(shape, type);
      const Tensors sums =
          reference::batch_norm_backward_reduce(kEpsilon, data.d_dst, data.src, data.mean, data.variance);
      OpCase test{to_string(shape), BatchNormBackwardApply{kEpsilon}, {}, {rounded_tolerance(type)}};
      test.scale = 15;  // gamma / std times d_dst and its mean, which cancel when there is one pixel
      test.input(type, data.d_dst).input(type, data.src).input(DType::kF32, data.mean);
      test.input(DType::kF32, data.variance).input(DType::kF32, data.gamma);
      expect_case(test.input(DType::kF32, sums[0]).input(DType::kF32, sums[1]));
    }
  }
}

TEST(OpNorm, FrozenBackward) {
  for (const Shape& shape : kActivationShapes) {
    for (const DType type : activation_types()) {
      const Data data(shape, type);
      OpCase test{to_string(shape), BatchNormFrozenBackward{kEpsilon}, {}, {rounded_tolerance(type)}};
      test.input(type, data.d_dst).input(DType::kF32, data.mean);
      expect_case(test.input(DType::kF32, data.variance).input(DType::kF32, data.gamma));
    }
  }
}

}  // namespace
}  // namespace residuum
