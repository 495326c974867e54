// The arena planner, alone and on whole training steps.
#include <gtest/gtest.h>

#include "engine/core/random.h"
#include "engine/exec/executor.h"
#include "engine/graph/passes.h"
#include "models/zoo.h"

namespace residuum {
namespace {

/// No two lifetimes that share a step may share memory.
void expect_disjoint(const std::vector<Lifetime>& lifetimes, const MemoryPlan& plan) {
  for (size_t a = 0; a < lifetimes.size(); ++a) {
    EXPECT_EQ(plan.offsets[a] % kArenaAlignment, 0u);
    EXPECT_LE(plan.offsets[a] + lifetimes[a].bytes, plan.arena_bytes);
    for (size_t b = a + 1; b < lifetimes.size(); ++b) {
      const bool together =
          lifetimes[a].first <= lifetimes[b].last && lifetimes[b].first <= lifetimes[a].last;
      const bool apart = plan.offsets[a] + lifetimes[a].bytes <= plan.offsets[b] ||
                         plan.offsets[b] + lifetimes[b].bytes <= plan.offsets[a];
      ASSERT_TRUE(!together || apart || lifetimes[a].bytes == 0 || lifetimes[b].bytes == 0)
          << "blocks " << a << " and " << b << " are alive together and overlap";
    }
  }
}

TEST(MemoryPlan, ReusesWhatIsDead) {
  const std::vector<Lifetime> chain = {{1000, 0, 1}, {1000, 1, 2}, {1000, 2, 3}, {1000, 3, 4}};
  const MemoryPlan plan = plan_memory(chain);
  expect_disjoint(chain, plan);
  EXPECT_EQ(plan.arena_bytes, 2048u);
  EXPECT_EQ(plan.unshared_bytes, 4096u);
  EXPECT_EQ(plan_memory(chain, false).arena_bytes, 4096u);
}

TEST(MemoryPlan, RandomLifetimesNeverOverlap) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    RandomStream random(seed, RandomPurpose::kAnalysis, 0, 0);
    std::vector<Lifetime> lifetimes;
    for (int i = 0; i < 60; ++i) {
      const int first = static_cast<int>(random.uniform_below(40));
      lifetimes.push_back(
          {random.uniform_below(5000), first, first + static_cast<int>(random.uniform_below(10))});
    }
    for (bool reuse : {true, false}) expect_disjoint(lifetimes, plan_memory(lifetimes, reuse));
  }
}

TEST(MemoryPlan, TrainingStepsAreDisjointAndPeakBelowTheSum) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", {2});
  for (const char* name : {"cifar_resnet20", "cifar_preresnet20", "resnet18"}) {
    ModelOptions options;
    options.batch = 4;
    options.image_size = 32;
    for (bool recompute : {false, true}) {
      const Plan plan =
          make_plan(run_passes(build_model(name, options), training_passes({{}, recompute})), *backend);
      expect_disjoint(plan.lifetimes, plan.memory);
      EXPECT_LT(plan.memory.arena_bytes, plan.memory.unshared_bytes / 2) << name;
    }
  }
}

TEST(MemoryPlan, RecomputeLowersThePeakOfADeepNet) {
  const std::unique_ptr<Backend> backend = make_backend("cpu", {2});
  ModelOptions options;
  options.batch = 16;
  const auto arena = [&](bool recompute) {
    const Graph graph = run_passes(build_model("cifar_resnet110", options), training_passes({{}, recompute}));
    return make_plan(graph, *backend).memory.arena_bytes;
  };
  EXPECT_LT(arena(true), arena(false) * 2 / 3);
}

}  // namespace
}  // namespace residuum
