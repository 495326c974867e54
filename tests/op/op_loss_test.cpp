// Softmax cross-entropy against the references: smoothing, masked rows, counts, extreme logits.
#include <gtest/gtest.h>

#include <fmt/core.h>

#include <cmath>

#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using reference::Tensor;

struct LossCase {
  int64_t n, classes;
  double spread;   ///< logits lie in [-spread, spread]
  int64_t masked;  ///< every masked-th label is -1; 0: none
};

const std::vector<LossCase> kCases = {
    {1, 1, 1, 0},     {1, 2, 1, 0},      {3, 10, 4, 0},  {37, 10, 4, 3},
    {70, 100, 10, 5}, {11, 1000, 30, 2}, {16, 7, 80, 0},
};

Tensor labels_of(const LossCase& t) {
  Tensor labels = integer_tensor({t.n}, 7, static_cast<uint32_t>(t.classes));
  for (int64_t i = 0; t.masked > 0 && i < t.n; i += t.masked) labels[i] = -1;
  return labels;
}

void expect_both_ways(const std::string& name, float smoothing, const Tensor& logits, const Tensor& labels) {
  OpCase forward{name, SoftmaxCrossEntropy{smoothing}, {}, {kFunctionF32, kExact}};
  forward.scale = 1;
  expect_case(forward.input(DType::kF32, logits).input(DType::kI32, labels));
  OpCase backward{name, SoftmaxCrossEntropyBackward{smoothing}, {}, {kFunctionF32}};
  backward.scale = 1.0 / static_cast<double>(labels.elements());
  expect_case(backward.input(DType::kF32, logits).input(DType::kI32, labels));
}

TEST(OpLoss, CrossEntropy) {
  for (const LossCase& t : kCases) {
    for (const float smoothing : {0.0f, 0.1f}) {
      const std::string name =
          fmt::format("{} rows of {} classes, spread {}, smoothing {}", t.n, t.classes, t.spread, smoothing);
      expect_both_ways(name, smoothing, uniform_tensor({t.n, t.classes}, 1, -t.spread, t.spread),
                       labels_of(t));
    }
  }
}

TEST(OpLoss, BackwardTimesTheLossScale) {
  OpCase test{"scale 1024", SoftmaxCrossEntropyBackward{0.1f, 1024}, {}, {kFunctionF32}};
  test.scale = 1024.0 / 37;
  test.input(DType::kF32, uniform_tensor({37, 10}, 1, -4, 4));
  expect_case(test.input(DType::kI32, integer_tensor({37}, 2, 10)));
}

TEST(OpLoss, LargeLogitsDoNotOverflow) {
  const Tensor logits({3, 3}, {1000, 0, -1000, -1e4, -1e4, -1e4, 500, 500, 0});
  expect_both_ways("large logits", 0, logits, Tensor({3}, {0, 2, 1}));
}

TEST(OpLoss, EveryRowMaskedIsNoLossAndNoGradient) {
  expect_both_ways("all masked", 0.1f, uniform_tensor({5, 4}, 1), Tensor({5}, {-1, -1, -1, -1, -1}));
}

TEST(OpLoss, TopFiveCountsTheRankOfTheLabel) {
  Tensor logits({7, 7});
  for (int64_t i = 0; i < 49; ++i) logits[i] = static_cast<double>(i % 7);
  const Tensor labels({7}, {6, 5, 4, 3, 2, 1, 0});  // ranks 1 to 7
  const Tensor counts = reference::softmax_cross_entropy(0, logits, labels)[1];
  EXPECT_EQ(counts.data, (std::vector<double>{7, 1, 5}));
  expect_both_ways("ranks 1 to 7", 0, logits, labels);
}

TEST(OpLoss, ANaNLogitGivesANaNLossAndNoRightAnswer) {
  Graph graph;
  const ValueId logits = graph.add_persistent("logits", {DType::kF32, {1, 3}}, ValueKind::kInput);
  const ValueId labels = graph.add_persistent("labels", {DType::kI32, {1}}, ValueKind::kInput);
  const std::vector<ValueId> out = graph.add_node("loss", SoftmaxCrossEntropy{}, {logits, labels});
  graph.outputs = {{"loss", out[0]}, {"counts", out[1]}};
  GraphRun run(graph, test_backend(), Grouping::kSeparate);
  run.write(logits, Tensor({1, 3}, {NAN, NAN, NAN}));
  run.write(labels, Tensor({1}, {1}));
  run.run({});
  EXPECT_TRUE(std::isnan(run.read(out[0])[0]));
  EXPECT_EQ(run.read(out[1]).data, (std::vector<double>{1, 0, 0}));
}

}  // namespace
}  // namespace residuum
