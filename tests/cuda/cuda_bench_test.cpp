// Benchmarks on the CUDA backend: marks of its timer are events that nobody waits for, copies on the device
// keep the order of launches, and kernels are measured and checked as on the CPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "bench/kernels.h"
#include "tests/emulator/runtime.h"

namespace residuum::bench {
namespace {

class CudaBench : public ::testing::Test {
 protected:
  CudaBench() {
    emulator::reset();
    backend_ = make_backend("cuda", {});
  }
  ~CudaBench() override {
    backend_.reset();
    emulator::reset();
  }

  std::unique_ptr<Backend> backend_;
};

TEST_F(CudaBench, MarksAreEventsThatNobodyWaitsFor) {
  const std::unique_ptr<Timer> timer = backend_->make_timer();
  const int events = emulator::call_count("cudaEventCreateWithFlags");
  EXPECT_TRUE(timer->intervals().empty());
  for (int round = 0; round < 2; ++round) {
    const int waits = emulator::call_count("cudaEventSynchronize");
    for (int i = 0; i < 3; ++i) timer->mark();
    EXPECT_EQ(emulator::call_count("cudaEventSynchronize"), waits);
    const std::vector<double> seconds = timer->intervals();  // the emulator says 1 ms of any two events
    ASSERT_EQ(seconds.size(), 2u);
    EXPECT_FLOAT_EQ(static_cast<float>(seconds[0]), 1e-3f);
    EXPECT_EQ(emulator::call_count("cudaEventSynchronize"), waits + 1);
  }
  EXPECT_EQ(emulator::call_count("cudaEventCreateWithFlags"), events + 3) << "events are used again";
}

TEST_F(CudaBench, CopiesKeepTheOrderOfLaunches) {
  const auto a = backend_->allocate(16), b = backend_->allocate(16), c = backend_->allocate(16);
  const char text[16] = "fifteen letters";
  backend_->upload(a->data(), text, sizeof(text));
  backend_->copy(b->data(), a->data(), sizeof(text));
  backend_->copy(c->data(), b->data(), sizeof(text));
  char found[16] = {};
  backend_->copy_to_host(found, c->data(), sizeof(found));
  EXPECT_STREQ(found, text);
}

TEST_F(CudaBench, OwnKernelsAreMeasuredAndRight) {
  const Problem problem{ProblemKind::kConv, "c", {1, 6, 6, 16, 16, 3, 3, 1, 1, 1}, 1, false};
  for (const std::string& operation : operations_of(problem)) {
    const auto rows = measure_kernels({{"ours", backend_.get(), {}}, {"cudnn", backend_.get(), {}}}, problem,
                                      operation, {Precision::kBF16, {1, 0}, 1});
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[0].status, RowStatus::kMeasured) << rows[0].reason;
    EXPECT_GT(rows[0].verdict.checked, 0);
    EXPECT_FLOAT_EQ(static_cast<float>(rows[0].cold.median), 1e-3f);
    EXPECT_EQ(rows[1].status, RowStatus::kUnavailable) << "it was asked for cuDNN and is the engine's own";
    EXPECT_EQ(rows[1].reason, "here " + operation + " is computed by own");
  }
}

}  // namespace
}  // namespace residuum::bench
