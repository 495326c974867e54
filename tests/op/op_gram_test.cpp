// The operations of a batch norm after a 1x1 convolution, from sums over the convolution's input, against the
// references.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using reference::Tensor;
using reference::Tensors;

struct GramShape {
  int64_t n, h, w, c, k;
};
const std::vector<GramShape> kShapes = {{1, 1, 1, 1, 1},  {3, 2, 3, 1, 5},   {2, 3, 3, 7, 17},
                                        {5, 4, 4, 8, 32}, {9, 3, 3, 64, 65}, {3, 7, 5, 33, 131}};

/// Where a channel has few values its variance may be tiny; a large epsilon keeps the tests about the
/// formulas.
constexpr float kEpsilon = 1e-2f;

/// Inputs of all operations that belong to one convolution, f32 values. The source is mostly positive, as
/// after a ReLU, so that its covariance is the difference of larger numbers.
struct Data {
  explicit Data(const GramShape& s)
      : pixels(s.n * s.h * s.w),
        src(rounded_to(DType::kBF16, uniform_tensor({s.n, s.h, s.w, s.c}, 1, -0.5, 1.5))),
        d_dst(uniform_tensor({s.n, s.h, s.w, s.k}, 2)),
        weight(rounded_to(DType::kBF16, uniform_tensor({s.k, 1, 1, s.c}, 3))),
        gamma(rounded_to(DType::kF32, uniform_tensor({s.k}, 4, 0.5, 1.5))) {
    const Tensor dst = reference::conv({s.k, 1, 1, 1, 0, 1}, src, weight);
    const Tensors sums = reference::gram(src), moments = reference::batch_norm_stats(dst);
    const ConvShape shape{s.n, s.h, s.w, s.c, s.k, 1, 1, 1, 0, 1};
    const auto f32 = [](const Tensor& tensor) { return rounded_to(DType::kF32, tensor); };
    gram = f32(sums[0]), sum = f32(sums[1]), mean = f32(moments[0]), variance = f32(moments[1]);
    weighted = f32(reference::gram_stats({pixels}, gram, sum, weight)[2]);
    const Tensors gradients = reference::batch_norm_backward_reduce(kEpsilon, d_dst, dst, mean, variance);
    d_gamma = f32(gradients[0]), d_beta = f32(gradients[1]);
    product = f32(reference::conv_backward_filter(shape, d_dst, src));
  }
  int64_t pixels;
  Tensor src, d_dst, weight, gamma, gram, sum, mean, variance, weighted, d_gamma, d_beta, product;
};

/// Calls body(test, data, weight type) for every shape and type; the case's inputs and tolerances are its
/// own.
void for_all(const std::function<Op(const Data&, DType)>& op_of,
             const std::function<void(OpCase&, const Data&, DType)>& body) {
  for (const GramShape& s : kShapes) {
    const Data data(s);
    for (const DType type : activation_types()) {
      OpCase test{fmt::format("{} pixels, {} -> {}, weight {}", data.pixels, s.c, s.k, to_string(type)),
                  op_of(data, type),
                  {},
                  {}};
      body(test, data, type);
      expect_case(test);
    }
  }
}

double largest(const Tensor& tensor) {
  double size = 0;
  for (const double value : tensor.data) size = std::max(size, std::abs(value));
  return size;
}

TEST(OpGram, Gram) {
  for (const GramShape& s : kShapes) {
    for (const DType type : activation_types()) {
      const Data data(s);
      OpCase test{fmt::format("{} pixels of {}", data.pixels, s.c),
                  Gram{},
                  {},
                  {product_tolerance(type, DType::kF32, data.pixels), summed_f32(data.pixels)}};
      expect_case(test.input(type, data.src));
    }
  }
}

TEST(OpGram, Stats) {
  for_all([](const Data& data, DType) { return GramStats{data.pixels}; },
          [](OpCase& test, const Data& data, DType type) {
            test.tolerances = {summed_f32(data.sum.elements())};
            test.input(DType::kF32, data.gram).input(DType::kF32, data.sum).input(type, data.weight);
          });
}

TEST(OpGram, StatsAreThoseOfTheConvolutionsResult) {
  for (const GramShape& s : kShapes) {
    const Data data(s);
    const Tensors sums = reference::gram(data.src),
                  found = reference::gram_stats({data.pixels}, sums[0], sums[1], data.weight),
                  expected = reference::batch_norm_stats(
                      reference::conv({s.k, 1, 1, 1, 0, 1}, data.src, data.weight));
    EXPECT_TRUE(matches(found[0], expected[0], kFiniteDifference));
    EXPECT_TRUE(matches(found[1], expected[1], kFiniteDifference, 1e-6));
  }
}

TEST(OpGram, AVarianceIsNeverNegative) {
  // One value everywhere: gram / M and the square of the mean differ by their rounding alone.
  OpCase test{"constant source", GramStats{3}, {}, {summed_f32(2), kRoundedF32}};
  test.scale = 1;
  const Tensor weight({2, 1, 1, 1}, {1.0, 300.0}), third({1}, {0.1 * 3});
  test.input(DType::kF32, {{1, 1}, {0.1 * 0.1 * 3 * (1 - 1e-7)}}).input(DType::kF32, third);
  expect_case(test.input(DType::kF32, weight));
}

TEST(OpGram, BackwardReduce) {
  for_all([](const Data&, DType) { return GramBackwardReduce{kEpsilon}; },
          [](OpCase& test, const Data& data, DType type) {
            test.tolerances = {kRoundedF32};
            test.input(DType::kF32, data.product).input(type, data.weight).input(DType::kF32, data.mean);
            test.input(DType::kF32, data.variance).input(DType::kF32, data.d_beta);
          });
}

TEST(OpGram, BackwardFilter) {
  for_all(
      [](const Data& data, DType) {
        return GramBackwardFilter{data.pixels, kEpsilon};
      },
      [](OpCase& test, const Data& data, DType) {
        test.tolerances = {kRoundedF32};
        test.scale = largest(data.product);  // less the two other terms, which may cancel it
        test.input(DType::kF32, data.product).input(DType::kF32, data.weighted);
        test.input(DType::kF32, data.sum).input(DType::kF32, data.variance).input(DType::kF32, data.gamma);
        test.input(DType::kF32, data.d_gamma).input(DType::kF32, data.d_beta);
      });
}

/// The inputs of GramBackwardWeight.
void add_weight_inputs(OpCase& test, const Data& data, DType type) {
  test.input(type, data.weight).input(DType::kF32, data.sum).input(DType::kF32, data.variance);
  test.input(DType::kF32, data.gamma).input(DType::kF32, data.d_gamma).input(DType::kF32, data.d_beta);
}

TEST(OpGram, BackwardWeight) {
  for_all(
      [](const Data& data, DType type) {
        return GramBackwardWeight{data.pixels, kEpsilon, type};
      },
      [](OpCase& test, const Data& data, DType type) {
        test.tolerances = {summed_tolerance(type, data.gamma.elements()), offset_tolerance(type)};
        // The root of the sum of the squares of the offset's terms, about.
        test.scale = std::sqrt(static_cast<double>(data.gamma.elements() + data.sum.elements()));
        add_weight_inputs(test, data, type);
      });
}

TEST(OpGram, TheFoldedGradientHasMeanZero) {
  for (const GramShape& s : kShapes) {
    for (const DType type : activation_types()) {
      const Data data(s);
      OpCase test{"", GramBackwardWeight{data.pixels, kEpsilon, type}, {}, {}};
      add_weight_inputs(test, data, type);
      Graph graph;
      std::vector<ValueId> inputs;
      for (const OpInput& input : test.inputs) {
        inputs.push_back(graph.add_persistent(fmt::format("{}", inputs.size()),
                                              {input.dtype, input.value.shape}, ValueKind::kInput));
      }
      const std::vector<ValueId> outputs = graph.add_node("node", test.op, inputs);
      GraphRun run(graph, test_backend(), Grouping::kSeparate);
      for (size_t i = 0; i < inputs.size(); ++i) run.write(inputs[i], test.inputs[i].value);
      run.run({});
      const Tensor folded = run.read(outputs[0]), offset = run.read(outputs[1]);
      for (int64_t c = 0; c < s.c; ++c) {
        double sum = offset[c] * static_cast<double>(data.pixels), size = std::abs(sum);
        for (int64_t r = 0; r < s.k + s.c; ++r) {
          const double term = folded[r * s.c + c] * (r < s.k ? data.d_beta[r] : data.sum[r - s.k]);
          sum += term;
          size += std::abs(term);
        }
        EXPECT_LE(std::abs(sum), 0x1p-22 * size) << "channel " << c << " of " << s.c << ": f32 sums";
      }
    }
  }
}

}  // namespace
}  // namespace residuum
