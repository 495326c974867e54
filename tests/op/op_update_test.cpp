// The last nodes of a step: gradient norm, accumulation, SGD, moving average, running statistics.
// The most important case: one gradient that is not finite leaves every persistent value untouched, bit for
// bit.
#include <gtest/gtest.h>

#include <fmt/core.h>

#include <cmath>
#include <limits>

#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using reference::Tensor;

/// Tensors of a small net: vectors, weights, one long enough to be cut over threads.
const std::vector<Shape> kShapes = {{1}, {17}, {64, 3, 3, 16}, {10, 64}, {7}, {128, 3, 3, 64}};

/// Adds one tensor of each shape.
void add_list(OpCase& test, uint64_t seed, double low = -1, double high = 1) {
  for (size_t i = 0; i < kShapes.size(); ++i)
    test.input(DType::kF32, uniform_tensor(kShapes[i], seed + i, low, high));
}

Tensor finite_norm(double norm = 3) {
  return {{2}, {norm, 1}};
}
const Tensor kNotFinite({2}, {NAN, 0});

SgdUpdate sgd() {
  SgdUpdate op{.momentum = 0.9f, .nesterov = false, .clip_norm = 0, .gradient_scale = 1, .weight_decay = {}};
  for (size_t i = 0; i < kShapes.size(); ++i) op.weight_decay.push_back(i % 2 == 0 ? 1e-2f : 0.0f);
  return op;
}

void expect_sgd(const std::string& name, const SgdUpdate& op, const Tensor& norm,
                const Tolerance& tolerance) {
  OpCase test{name, op, {}, {tolerance}};
  test.params.learning_rate = 0.1f;
  test.input(DType::kF32, norm);
  add_list(test, 10);
  add_list(test, 20);
  add_list(test, 30);
  expect_case(test);
}

TEST(OpUpdate, GradientNorm) {
  OpCase test{"all finite", GradientNorm{}, {}, {summed_f32(1)}};
  add_list(test, 10);
  expect_case(test);
}

TEST(OpUpdate, GradientNormOfHugeGradientsIsFinite) {
  OpCase test{"1e25", GradientNorm{}, {}, {summed_f32(1)}};
  add_list(test, 10, -1e25, 1e25);  // squares overflow f32
  expect_case(test);
}

TEST(OpUpdate, GradientNormSeesEveryBadValue) {
  const double bad_values[] = {NAN, INFINITY, -INFINITY};
  for (size_t list = 0; list < kShapes.size(); ++list) {
    for (const double bad : bad_values) {
      for (const bool at_end : {false, true}) {
        Graph graph;
        std::vector<ValueId> inputs;
        for (size_t i = 0; i < kShapes.size(); ++i)
          inputs.push_back(
              graph.add_persistent(fmt::format("g{}", i), {DType::kF32, kShapes[i]}, ValueKind::kInput));
        const ValueId norm = graph.add_node("norm", GradientNorm{}, inputs)[0];
        graph.outputs["norm"] = norm;
        GraphRun run(graph, test_backend(), Grouping::kSeparate);
        for (size_t i = 0; i < kShapes.size(); ++i) {
          Tensor gradient = uniform_tensor(kShapes[i], i);
          if (i == list) gradient[at_end ? gradient.elements() - 1 : 0] = bad;
          run.write(inputs[i], gradient);
        }
        run.run({});
        EXPECT_EQ(run.read(norm)[1], 0) << bad << " in tensor " << list;
      }
    }
  }
}

TEST(OpUpdate, AccumulateGradient) {
  for (const uint32_t micro_step : {0u, 1u, 2u}) {
    OpCase test{fmt::format("micro step {}", micro_step), AccumulateGradient{}, {}, {kRoundedF32}};
    test.params.micro_step = micro_step;
    add_list(test, 10);
    add_list(test, 20);
    expect_case(test);
  }
}

TEST(OpUpdate, SumsInPairsRestartAndWait) {
  const AccumulateGradient second_level{.restart = 2, .when = 1};
  for (const uint32_t micro_step : {0u, 1u, 2u, 3u, 5u}) {  // waits, restarts, waits, adds, restarts
    const Tolerance tolerance = micro_step == 3 ? kRoundedF32 : kExact;
    OpCase test{fmt::format("micro step {}", micro_step), second_level, {}, {tolerance}};
    test.params.micro_step = micro_step;
    add_list(test, 10);
    add_list(test, 20);
    expect_case(test);
  }
}

TEST(OpUpdate, FirstMicroStepForgetsOldSums) {
  OpCase test{"old sums are NaN", AccumulateGradient{}, {}, {kExact}};
  for (const double value : {2.0, double{NAN}}) test.input(DType::kF32, Tensor({3}, {value, value, value}));
  expect_case(test);
}

TEST(OpUpdate, Sgd) {
  expect_sgd("momentum and decay", sgd(), finite_norm(), kRoundedF32);
  SgdUpdate plain = sgd();
  plain.momentum = 0;
  expect_sgd("no momentum", plain, finite_norm(), kRoundedF32);
  SgdUpdate nesterov = sgd();
  nesterov.nesterov = true;
  expect_sgd("nesterov", nesterov, finite_norm(), kRoundedF32);
  SgdUpdate scaled = sgd();
  scaled.gradient_scale = 0.25f;
  expect_sgd("four micro-steps", scaled, finite_norm(), kRoundedF32);
}

TEST(OpUpdate, SgdClips) {
  for (const double norm : {0.0, 0.5, 8.0, 100.0}) {
    SgdUpdate op = sgd();
    op.clip_norm = 2;
    op.gradient_scale = 0.5f;  // of 0.5 * norm, the part above 2 is clipped
    expect_sgd(fmt::format("norm {}", norm), op, finite_norm(norm), kRoundedF32);
  }
}

TEST(OpUpdate, SgdWritesCopies) {
  SgdUpdate op = sgd();
  op.copy_of = {2, 5, 3};
  OpCase test{"three copies", op, {}, {kRoundedBF16}};
  test.params.learning_rate = 0.1f;
  test.input(DType::kF32, finite_norm());
  add_list(test, 10);
  add_list(test, 20);
  add_list(test, 30);
  for (const int64_t i : op.copy_of) test.input(DType::kBF16, Tensor(kShapes[static_cast<size_t>(i)]));
  expect_case(test);
}

TEST(OpUpdate, Ema) {
  for (const float decay : {0.0f, 0.9f, 0.9999f}) {
    OpCase test{fmt::format("decay {}", decay), EmaUpdate{decay}, {}, {kRoundedF32}};
    test.input(DType::kF32, finite_norm());
    add_list(test, 10);
    add_list(test, 20);
    expect_case(test);
  }
}

BatchNormCommit commit() {
  return {.momentum = 0.1f, .scale = 0.5f, .counts = {2, 49, 100352}};
}

/// Means, variances, running means and running variances of three layers.
void add_statistics(OpCase& test) {
  for (uint64_t list = 0; list < 4; ++list) {
    for (const int64_t channels : {1, 17, 64}) {
      const double low = list % 2 == 0 ? -1 : 0.1;  // variances are positive
      test.input(DType::kF32,
                 uniform_tensor({channels}, 10 * list + static_cast<uint64_t>(channels), low, 2));
    }
  }
}

TEST(OpUpdate, BatchNormCommit) {
  OpCase test{"three layers", commit(), {}, {kRoundedF32}};
  test.input(DType::kF32, finite_norm());
  add_statistics(test);
  expect_case(test);
}

TEST(OpUpdate, NotFiniteLeavesEverythingUntouched) {
  expect_sgd("not finite", sgd(), kNotFinite, kExact);
  OpCase ema{"not finite", EmaUpdate{0.9f}, {}, {kExact}};
  ema.input(DType::kF32, kNotFinite);
  add_list(ema, 10);
  add_list(ema, 20);
  expect_case(ema);
  OpCase statistics{"not finite", commit(), {}, {kExact}};
  statistics.input(DType::kF32, kNotFinite);
  add_statistics(statistics);
  expect_case(statistics);
}

}  // namespace
}  // namespace residuum
