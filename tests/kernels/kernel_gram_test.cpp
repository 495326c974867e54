// Launchers of gram.cu, directly: weights and folded weights of every pair of types, sizes that fill no tile,
// several tiles and several splits of a sum.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/kernel_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using kernels::GramProblem;
using reference::Tensor;
using reference::Tensors;

constexpr float kEpsilon = 1e-3f;

struct Size {
  int64_t c, k;
};
/// One element; less than a tile; whole tiles; more than one of each with a rest, and two splits.
const std::vector<Size> kSizes = {{1, 1}, {7, 18}, {64, 128}, {65, 131}};

/// What the launchers read. The Gram matrix is that of `pixels` uniform pixels, so that the covariance is the
/// difference of larger numbers.
struct Data {
  explicit Data(const Size& s)
      : size(s),
        weight(rounded_to(DType::kBF16, uniform_tensor({s.k, 1, 1, s.c}, 1))),
        product(uniform_tensor({s.k, 1, 1, s.c}, 2)),
        mean(uniform_tensor({s.k}, 3)),
        variance(uniform_tensor({s.k}, 4, 0.5, 2)),
        gamma(uniform_tensor({s.k}, 5, -1.5, 1.5)),
        d_gamma(uniform_tensor({s.k}, 6, -5, 5)),
        d_beta(uniform_tensor({s.k}, 7)) {
    const Tensors sums = reference::gram(uniform_tensor({1, 1, kPixels, s.c}, 8, 0, 1));
    gram = sums[0], sum = sums[1];
    for (Tensor* tensor : {&product, &mean, &variance, &gamma, &d_gamma, &d_beta, &gram, &sum})
      *tensor = rounded_to(DType::kF32, *tensor);
    weighted = rounded_to(DType::kF32, reference::gram_stats({kPixels}, gram, sum, weight)[2]);
  }
  GramProblem problem(DType type) const { return {kPixels, size.c, size.k, element_of(type)}; }
  kernels::BatchNormVectors vectors(KernelCase& test) const {
    return {test.floats(mean), test.floats(variance), test.floats(gamma), nullptr, kEpsilon};
  }
  kernels::GramNorm norm(KernelCase& test) const {
    return {test.floats(sum), vectors(test), test.floats(d_gamma), test.floats(d_beta)};
  }

  static constexpr int64_t kPixels = 50;
  Size size;
  Tensor weight, product, mean, variance, gamma, d_gamma, d_beta, gram, sum, weighted;
};

template <typename Body>
void for_all(const Body& body) {
  for (const Size& size : kSizes) {
    const Data data(size);
    for (const DType type : kElementTypes) {
      SCOPED_TRACE(fmt::format("{} -> {}, weight {}", size.c, size.k, to_string(type)));
      body(data, type);
    }
  }
}

void* floats_for(KernelCase& test, const Tensor& like) {
  return test.output(DType::kF32, like.shape);
}

TEST(KernelGram, Stats) {
  for_all([](const Data& data, DType type) {
    KernelCase test;
    const Tensors expected = reference::gram_stats({Data::kPixels}, data.gram, data.sum, data.weight);
    const kernels::GramStatsArgs args{.gram = test.floats(data.gram),
                                      .sum = test.floats(data.sum),
                                      .weight = test.tensor(type, data.weight),
                                      .mean = static_cast<float*>(floats_for(test, expected[0])),
                                      .variance = static_cast<float*>(floats_for(test, expected[1])),
                                      .weighted = static_cast<float*>(floats_for(test, expected[2]))};
    void* const workspace = test.workspace(gram_stats_workspace(data.problem(type)));
    unsigned* const counter = test.counter();
    test.run([&] { gram_stats(data.problem(type), args, workspace, counter, nullptr); });
    const Tolerance summed = summed_f32(data.size.c);
    EXPECT_TRUE(matches(test.read(args.mean, DType::kF32, expected[0].shape), expected[0], kRoundedF32));
    EXPECT_TRUE(matches(test.read(args.variance, DType::kF32, expected[1].shape), expected[1], summed));
    EXPECT_TRUE(matches(test.read(args.weighted, DType::kF32, expected[2].shape), expected[2], summed));
  });
}

TEST(KernelGram, BackwardReduce) {
  for_all([](const Data& data, DType type) {
    KernelCase test;
    const float* const product = test.floats(data.product);
    const void* const weight = test.tensor(type, data.weight);
    const kernels::BatchNormVectors vectors = data.vectors(test);
    const float* const d_beta = test.floats(data.d_beta);
    void* const d_gamma = floats_for(test, data.d_gamma);
    test.run([&] {
      gram_backward_reduce(data.problem(type), product, weight, vectors, d_beta, static_cast<float*>(d_gamma),
                           nullptr);
    });
    const Tensor* const inputs[] = {&data.product, &data.weight, &data.mean, &data.variance, &data.d_beta};
    EXPECT_TRUE(matches(test.read(d_gamma, DType::kF32, data.d_gamma.shape),
                        reference::gram_backward_reduce({kEpsilon}, inputs), kRoundedF32));
  });
}

TEST(KernelGram, BackwardFilter) {
  for_all([](const Data& data, DType type) {
    KernelCase test;
    const float *const product = test.floats(data.product), *const weighted = test.floats(data.weighted);
    const kernels::GramNorm norm = data.norm(test);
    void* const d_weight = floats_for(test, data.product);
    test.run([&] {
      gram_backward_filter(data.problem(type), product, weighted, norm, static_cast<float*>(d_weight),
                           nullptr);
    });
    const Tensor* const inputs[] = {&data.product, &data.weighted, &data.sum,   &data.variance,
                                    &data.gamma,   &data.d_gamma,  &data.d_beta};
    EXPECT_TRUE(matches(test.read(d_weight, DType::kF32, data.product.shape),
                        reference::gram_backward_filter({Data::kPixels, kEpsilon}, inputs), kRoundedF32, 1));
  });
}

TEST(KernelGram, BackwardWeight) {
  for_all([](const Data& data, DType type) {
    for (const DType folded_type : kElementTypes) {
      KernelCase test;
      const Tensor* const inputs[] = {&data.weight, &data.sum,     &data.variance,
                                      &data.gamma,  &data.d_gamma, &data.d_beta};
      const Tensors expected =
          reference::gram_backward_weight({Data::kPixels, kEpsilon, folded_type}, inputs);
      const void* const weight = test.tensor(type, data.weight);
      const kernels::GramNorm norm = data.norm(test);
      void* const folded = test.output(folded_type, expected[0].shape);
      void* const offset = floats_for(test, expected[1]);
      void* const workspace = test.workspace(gram_backward_weight_workspace(data.problem(type)));
      unsigned* const counter = test.counter();
      test.run([&] {
        gram_backward_weight(data.problem(type), weight, norm, element_of(folded_type), folded,
                             static_cast<float*>(offset), workspace, counter, nullptr);
      });
      EXPECT_TRUE(matches(test.read(folded, folded_type, expected[0].shape), expected[0],
                          summed_tolerance(folded_type, data.size.k)));
      EXPECT_TRUE(matches(test.read(offset, DType::kF32, expected[1].shape), expected[1],
                          offset_tolerance(folded_type),
                          std::sqrt(static_cast<double>(data.size.k + data.size.c))));
    }
  });
}

TEST(KernelGram, RefusesWhatItCannotCompute) {
  KernelCase test;
  const Data data(kSizes[1]);
  const kernels::GramNorm norm = data.norm(test);
  const float* const product = test.floats(data.product);
  float* const d_weight = static_cast<float*>(floats_for(test, data.product));
  const auto filter = [&](GramProblem problem, const float* weighted) {
    return refusal([&] { gram_backward_filter(problem, product, weighted, norm, d_weight, nullptr); });
  };
  EXPECT_EQ(filter(data.problem(DType::kF32), nullptr), 1);
  EXPECT_EQ(filter(data.problem(DType::kF32), product + 1), 1) << "not aligned";
  EXPECT_EQ(filter({0, 7, 18}, product), 1);
  EXPECT_EQ(filter({1, 0, 18}, product), 1);
  EXPECT_EQ(filter({1, 7, int64_t{1} << 21}, product), 1);
}

}  // namespace
}  // namespace residuum
