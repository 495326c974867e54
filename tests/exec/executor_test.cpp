// Whole training steps: the bits must not depend on threads, on memory reuse or on recompute, and grouping
// changes nothing.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cmath>
#include <cstring>
#include <thread>

#include "engine/core/random.h"
#include "engine/exec/executor.h"
#include "engine/graph/passes.h"
#include "models/zoo.h"

namespace residuum {
namespace {

struct RunOptions {
  std::string model = "cifar_resnet20";
  int threads = 2;
  DType activation = DType::kF32;
  TrainingPassOptions passes;
  PlanOptions plan;
  std::set<std::string> off;
  int64_t batch = 12;
  int steps = 3;
  bool poison = false;  ///< a NaN weight before the last step
};

struct RunResult {
  std::vector<float> losses;
  std::map<std::string, std::vector<std::byte>> state;
};

void write_batch(Executor& executor, int64_t rows, uint64_t index, int64_t first_row = 0) {
  const Graph& graph = executor.graph();
  const size_t row_bytes = graph.desc(*graph.find("images")).bytes() / static_cast<size_t>(rows);
  std::vector<uint8_t> images(row_bytes * static_cast<size_t>(rows));
  std::vector<int32_t> labels(static_cast<size_t>(rows));
  for (int64_t row = 0; row < rows; ++row) {
    RandomStream random(99, RandomPurpose::kAnalysis, index, static_cast<uint64_t>(first_row + row));
    labels[static_cast<size_t>(row)] = static_cast<int32_t>(random.uniform_below(10));
    for (size_t i = 0; i < row_bytes; ++i) {
      images[static_cast<size_t>(row) * row_bytes + i] = static_cast<uint8_t>(random.next_u32());
    }
  }
  executor.write("images", images);
  executor.write("labels", labels);
}

RunResult run(const RunOptions& o) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", {o.threads});
  ModelOptions model;
  model.batch = o.batch;
  model.activation = o.activation;
  State state(*backend);
  Executor executor(run_passes(build_model(o.model, model), training_passes(o.passes), o.off), *backend,
                    state, {o.plan, 7, {}});
  RunResult result;
  for (int step = 0; step < o.steps; ++step) {
    if (o.poison && step + 1 == o.steps) {
      std::vector<float> weight(16, std::numeric_limits<float>::quiet_NaN());
      state.write("bn1.weight", std::as_bytes(std::span(weight)));
    }
    write_batch(executor, o.batch, static_cast<uint64_t>(step));
    const StepParams params{7, static_cast<uint64_t>(step), 0, 0.1f};
    executor.run_micro_step(params);
    executor.run_update(params);
    result.losses.push_back(executor.read<float>("loss")[0]);
  }
  for (const State::Entry& entry : state.entries()) result.state[entry.name] = state.read(entry.name);
  return result;
}

void expect_same_bits(const RunResult& a, const RunResult& b) {
  ASSERT_EQ(a.losses.size(), b.losses.size());
  EXPECT_EQ(std::memcmp(a.losses.data(), b.losses.data(), a.losses.size() * sizeof(float)), 0)
      << a.losses.back() << " and " << b.losses.back();
  ASSERT_EQ(a.state.size(), b.state.size());
  for (const auto& [name, bytes] : a.state) EXPECT_TRUE(bytes == b.state.at(name)) << name;
}

/// One whole training step on the batch already written.
void run_step(Executor& executor, uint64_t step, float learning_rate) {
  executor.run_micro_step({1, step, 0, learning_rate});
  executor.run_update({1, step, 0, learning_rate});
}

TEST(Executor, BackendsOfTwoThreadsWorkSideBySide) {
  RunOptions o;
  o.model = "cifar_resnet8";
  RunResult here, there;
  std::thread other([&] { there = run(o); });
  here = run(o);
  other.join();
  const RunResult alone = run(o);
  expect_same_bits(here, alone);
  expect_same_bits(there, alone);
}

TEST(Executor, LossFallsOnOneBatch) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", {2});
  ModelOptions model;
  model.batch = 16;
  State state(*backend);
  Executor executor(run_passes(build_model("cifar_resnet20", model), training_passes({})), *backend, state);
  write_batch(executor, 16, 0);
  const auto step = [&](uint64_t i) {
    run_step(executor, i, 0.05f);
    return executor.read<float>("loss")[0];
  };
  const float first = step(0);
  float last = first;
  for (uint64_t i = 1; i < 25; ++i) last = step(i);
  EXPECT_NEAR(first, 2.3f, 1.2f);
  EXPECT_LT(last, 0.2f * first);
}

TEST(Executor, BitsDoNotDependOnThreads) {
  for (DType type : {DType::kF32, DType::kBF16}) {
    RunOptions one;
    one.threads = 1;
    one.activation = type;
    const RunResult expected = run(one);
    for (int threads : {2, 3, 5}) {
      RunOptions many = one;
      many.threads = threads;
      expect_same_bits(expected, run(many));
    }
  }
}

TEST(Executor, BitsDoNotDependOnMemoryReuseOrGrouping) {
  const RunResult expected = run({});
  RunOptions no_reuse;
  no_reuse.plan.reuse = false;
  expect_same_bits(expected, run(no_reuse));
  RunOptions no_groups;
  no_groups.plan.group = false;
  expect_same_bits(expected, run(no_groups));
}

TEST(Executor, RecomputeAndRematerializeKeepTheBits) {
  using Case = std::pair<const char*, DType>;
  for (const auto& [model, type] :
       {Case{"cifar_resnet20", DType::kF32}, Case{"cifar_resnet20", DType::kBF16},
        Case{"cifar_preresnet20", DType::kBF16}, Case{"cifar_plain20", DType::kF32}}) {
    RunOptions plain;
    plain.model = model;
    plain.activation = type;
    plain.steps = 2;
    plain.off = {"rematerialize"};
    const RunResult expected = run(plain);
    RunOptions recompute = plain;
    recompute.passes.recompute = true;
    expect_same_bits(expected, run(recompute));
    recompute.off = {};
    expect_same_bits(expected, run(recompute));
    RunOptions rematerialize = plain;
    rematerialize.off = {};
    expect_same_bits(expected, run(rematerialize));
  }
}

TEST(Executor, ANonFiniteStepChangesNothing) {
  RunOptions clean;
  clean.steps = 2;
  clean.passes.update.ema_decay = 0.9f;
  const RunResult before = run(clean);
  RunOptions poisoned = clean;
  poisoned.steps = 3;
  poisoned.poison = true;
  const RunResult after = run(poisoned);
  EXPECT_TRUE(std::isnan(after.losses.back()));
  for (const auto& [name, bytes] : before.state) {
    if (name != "bn1.weight") {
      EXPECT_TRUE(bytes == after.state.at(name)) << name;
    }
  }
}

TEST(Executor, AccumulationGivesTheMeanGradientOfTheMicroBatches) {
  // Two micro-steps of the same rows: the accumulated mean equals the gradient of one of them, so the step is
  // the same.
  const auto weights = [&](int accumulation) {
    const std::unique_ptr<Backend> backend = make_backend("cpu", {2});
    ModelOptions model;
    model.batch = 8;
    State state(*backend);
    TrainingPassOptions passes;
    passes.update.accumulation = accumulation;
    passes.update.momentum = 0;
    Executor executor(run_passes(build_model("cifar_resnet20", model), training_passes(passes)), *backend,
                      state);
    for (uint32_t micro = 0; micro < static_cast<uint32_t>(accumulation); ++micro) {
      write_batch(executor, 8, 0);
      executor.run_micro_step({1, 0, micro, 0.1f});
    }
    executor.run_update({1, 0, 0, 0.1f});
    const std::vector<std::byte> bytes = state.read("layer2.0.conv1.weight");
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  };
  const std::vector<float> once = weights(1), twice = weights(2);
  for (size_t i = 0; i < once.size(); ++i)
    ASSERT_EQ(once[i], twice[i]) << "g + g halved is g exactly, at " << i;
}

TEST(Executor, TheNormTimesGradientScaleIsThatOfTheMeanGradient) {
  const auto norm = [](const UpdateOptions& update) {
    const std::unique_ptr<Backend> backend = make_backend("cpu", {2});
    ModelOptions model;
    model.batch = 8;
    State state(*backend);
    Executor executor(run_passes(build_model("cifar_resnet20", model), training_passes({update})), *backend,
                      state);
    for (uint32_t micro = 0; micro < static_cast<uint32_t>(update.accumulation); ++micro) {
      write_batch(executor, 8, 0);
      executor.run_micro_step({1, 0, micro, 0.1f});
    }
    executor.run_update({1, 0, 0, 0.1f});
    return executor.read<float>("norm")[0] * gradient_scale(update);
  };
  const float plain = norm({});
  EXPECT_GT(plain, 0);
  EXPECT_EQ(norm({.accumulation = 4}), plain);
  EXPECT_EQ(norm({.loss_scale = 1024}), plain);
  EXPECT_EQ(norm({.accumulation = 2, .loss_scale = 256}), plain);
}

TEST(Executor, StepsKeepNoMemoryAndMapNone) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", {2});
  ModelOptions model;
  model.batch = 64;
  State state(*backend);
  Executor executor(run_passes(build_model("cifar_resnet20", model), training_passes({})), *backend, state);
  write_batch(executor, 64, 0);
  const auto steps = [&](uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) run_step(executor, i, 0.1f);
  };
  steps(2);  // each thread makes its oneDNN stream on first use
  const struct mallinfo2 before = mallinfo2();
  steps(4);
  const struct mallinfo2 after = mallinfo2();
  EXPECT_EQ(after.hblkhd, before.hblkhd)
      << "bytes in mapped blocks: the smallest activation is larger than such a block";
  EXPECT_LE(after.uordblks, before.uordblks + 4096) << "bytes in use";
}

TEST(Executor, InferenceIsOneLaunchAndMasksPaddedRows) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", {2});
  ModelOptions model;
  model.mode = Mode::kEval;
  model.batch = 10;
  State state(*backend);
  Executor executor(build_model("cifar_resnet20", model), *backend, state);
  EXPECT_EQ(executor.plan().launches.size(), 1u);
  write_batch(executor, 10, 0);
  executor.run_micro_step({});
  EXPECT_EQ(executor.read<int32_t>("counts")[0], 10);
  executor.write("labels", std::vector<int32_t>{1, 2, 3, -1, -1, -1, -1, -1, -1, -1});
  executor.run_micro_step({});
  EXPECT_EQ(executor.read<int32_t>("counts")[0], 3);
}

}  // namespace
}  // namespace residuum
