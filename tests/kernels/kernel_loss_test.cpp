// Softmax cross-entropy launchers, directly: what a graph does not reach, such as a loss scale, labels that
// are no class and every logit NaN, on one row and on many blocks.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/kernel_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using reference::Tensor;

/// Both launchers on the same rows, and the one that does both at once, which must give the same bits.
struct LossRun {
  LossRun(const Tensor& logits, const Tensor& labels, float smoothing, float factor) {
    const int64_t n = logits.rows(), k = logits.channels();
    KernelCase test;
    const float* const z = test.floats(logits);
    const int32_t* const y = static_cast<const int32_t*>(test.tensor(DType::kI32, labels));
    float* const out = test.output<float>(sizeof(float));
    int32_t* const tally = test.output<int32_t>(3 * sizeof(int32_t));
    float* const d = test.output<float>(static_cast<size_t>(n * k) * sizeof(float));
    float* const loss_of_step = test.output<float>(sizeof(float));
    int32_t* const tally_of_step = test.output<int32_t>(3 * sizeof(int32_t));
    float* const d_of_step = test.output<float>(static_cast<size_t>(n * k) * sizeof(float));
    void* const workspace = test.workspace(kernels::softmax_cross_entropy_workspace(n));
    unsigned* const counter = test.counter();
    test.run([&] {
      kernels::softmax_cross_entropy(n, k, smoothing, z, y, out, tally, workspace, counter, nullptr);
      kernels::softmax_cross_entropy_backward(n, k, smoothing, factor, z, y, d, nullptr);
      kernels::softmax_cross_entropy_step(n, k, smoothing, factor, z, y, loss_of_step, tally_of_step,
                                          d_of_step, workspace, counter, nullptr);
    });
    EXPECT_EQ(test.bytes(loss_of_step) == test.bytes(out), true) << "other loss in one launch";
    EXPECT_EQ(test.bytes(tally_of_step) == test.bytes(tally), true) << "other counts in one launch";
    EXPECT_EQ(test.bytes(d_of_step) == test.bytes(d), true) << "another gradient in one launch";
    loss = test.read(out, DType::kF32, {1});
    counts = test.read(tally, DType::kI32, {3});
    d_logits = test.read(d, DType::kF32, logits.shape);
  }
  Tensor loss, counts, d_logits;
};

TEST(KernelLoss, RowsOfAnySize) {
  struct Case {
    int64_t n, k, masked;
  };
  for (const Case& t : {Case{1, 1, 0}, Case{1, 2, 0}, Case{9, 31, 4}, Case{8, 32, 0}, Case{65, 33, 3},
                        Case{700, 10, 5}, Case{17, 1000, 2}}) {
    for (const float smoothing : {0.0f, 0.1f}) {
      SCOPED_TRACE(fmt::format("{} rows of {} classes, smoothing {}", t.n, t.k, smoothing));
      constexpr float kFactor = 128;
      const Tensor logits = rounded_to(DType::kF32, uniform_tensor({t.n, t.k}, 1, -9, 9));
      Tensor labels = integer_tensor({t.n}, 2, static_cast<uint32_t>(t.k));
      for (int64_t i = 1; t.masked > 0 && i < t.n; i += t.masked) labels[i] = -2;
      const LossRun run(logits, labels, smoothing, kFactor);
      const double eps = double{smoothing};
      const reference::Tensors expected = reference::softmax_cross_entropy(eps, logits, labels);
      EXPECT_TRUE(matches(run.loss, expected[0], kFunctionF32, 1));
      EXPECT_TRUE(matches(run.counts, expected[1], kExact));
      const Tensor d = reference::softmax_cross_entropy_backward({smoothing, kFactor}, logits, labels);
      EXPECT_TRUE(matches(run.d_logits, d, kFunctionF32, double{kFactor} / expected[1][0]));
    }
  }
}

TEST(KernelLoss, NoValidRowIsNoLoss) {
  const LossRun run(uniform_tensor({5, 4}, 1), Tensor({5}, {-1, -1, -1, -1, -1}), 0.1f, 1);
  EXPECT_EQ(run.loss[0], 0);
  EXPECT_EQ(run.counts.data, (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(run.d_logits.data, std::vector<double>(20, 0.0));
}

TEST(KernelLoss, EqualLogitsRankByClassNumber) {
  const LossRun run(Tensor({7, 7}), Tensor({7}, {0, 1, 2, 3, 4, 5, 6}), 0, 1);
  EXPECT_EQ(run.counts.data, (std::vector<double>{7, 1, 5}));
}

TEST(KernelLoss, NaNLogitsAreSeenAndNeverRight) {
  Tensor logits({3, 3});
  for (int64_t i = 3; i < 6; ++i) logits[i] = NAN;
  logits[8] = NAN;  // beside the label
  const LossRun run(logits, Tensor({3}, {0, 0, 0}), 0, 1);
  EXPECT_TRUE(std::isnan(run.loss[0]));
  EXPECT_EQ(run.counts.data, (std::vector<double>{3, 1, 2}));
  EXPECT_FALSE(std::isnan(run.d_logits[0]));
  EXPECT_TRUE(std::isnan(run.d_logits[3]));
}

TEST(KernelLoss, ALabelThatIsNoClassGivesANaNAndReadsNothing) {
  const LossRun run(Tensor({2, 3}), Tensor({2}, {3, 1}), 0, 1);
  EXPECT_TRUE(std::isnan(run.loss[0]));
  EXPECT_EQ(run.counts[0], 2);
  EXPECT_TRUE(std::isnan(run.d_logits[0]));
  EXPECT_FALSE(std::isnan(run.d_logits[3]));
}

}  // namespace
}  // namespace residuum
