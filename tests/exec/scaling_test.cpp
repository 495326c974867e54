// The scaling model against closed forms worked out here, and against what must hold for any plan.
#include "engine/exec/scaling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/backend/backend_passes.h"
#include "engine/comm/network_fit.h"
#include "engine/core/quantity.h"
#include "engine/graph/buckets.h"
#include "models/zoo.h"

namespace residuum {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

NetworkModel one_node(double bandwidth, double latency,
                      AllReduceAlgorithm algorithm = AllReduceAlgorithm::kRing) {
  NetworkModel network;
  network.gpus_per_node = 1 << 20;
  network.intra_bandwidth = bandwidth;
  network.intra_latency = latency;
  network.algorithm = algorithm;
  return network;
}

TEST(NetworkModel, RingInOneNode) {
  const NetworkModel network = one_node(10e9, 5e-6);
  for (const int n : {2, 3, 8, 100}) {
    const double expected = 2.0 * (n - 1) / n * 1e8 / 10e9 + 2.0 * (n - 1) * 5e-6;
    EXPECT_NEAR(all_reduce_time(network, n, 100'000'000).seconds, expected, 1e-12) << n;
  }
  EXPECT_EQ(all_reduce_time(network, 1, 100'000'000).seconds, 0);
}

/// 4 nodes of 8 GPUs: 100 GB/s and 2 us within, 2 adapters of 10 GB/s and 7 us between, 3 us to begin.
NetworkModel cluster(AllReduceAlgorithm algorithm) {
  NetworkModel network = parse_network(
      "gpus_per_node=8,intra_bw=100GB/s,intra_latency=2us,inter_bw=80Gb/"
      "s,inter_latency=7us,adapters=2,base_latency=3us");
  network.algorithm = algorithm;
  return network;
}

TEST(NetworkModel, AlgorithmsOverSeveralNodes) {
  constexpr double kBytes = 64e6;
  const auto seconds = [](AllReduceAlgorithm a) {
    return all_reduce_time(cluster(a), 32, 64'000'000).seconds;
  };
  // 62 steps, 6 of them between nodes; every node's ring passes 20 GB/s.
  EXPECT_NEAR(seconds(AllReduceAlgorithm::kRing), 3e-6 + 56 * 2e-6 + 6 * 7e-6 + 62.0 / 32 * kBytes / 20e9,
              1e-12);
  // A chain of 7 hops and a tree of depth 2, there and back; all bytes up and down.
  EXPECT_NEAR(seconds(AllReduceAlgorithm::kTree), 3e-6 + 14 * 2e-6 + 4 * 7e-6 + 2 * kBytes / 20e9, 1e-12);
  // Within the node 7/8 of the bytes twice at 100 GB/s; between nodes, a ring of 4 beats the tree on so many
  // bytes.
  EXPECT_NEAR(seconds(AllReduceAlgorithm::kHierarchical),
              3e-6 + 14 * 2e-6 + 14.0 / 8 * kBytes / 100e9 + 6 * 7e-6 + 6.0 / 4 * kBytes / 20e9, 1e-12);
  EXPECT_EQ(all_reduce_time(cluster(AllReduceAlgorithm::kAuto), 32, 64'000'000).seconds,
            std::min({seconds(AllReduceAlgorithm::kRing), seconds(AllReduceAlgorithm::kTree),
                      seconds(AllReduceAlgorithm::kHierarchical)}));
}

TEST(NetworkModel, FewBytesOverManyNodesGoByTree) {
  const NetworkModel network = cluster(AllReduceAlgorithm::kAuto);
  EXPECT_EQ(all_reduce_time(network, 4096, 1000).algorithm, AllReduceAlgorithm::kTree);
  EXPECT_NE(all_reduce_time(network, 8, 1'000'000'000).algorithm, AllReduceAlgorithm::kTree);
}

TEST(NetworkModel, OneGpuANodeUsesTheLinkBetweenNodesAlone) {
  const NetworkModel network =
      parse_network("gpus_per_node=1,inter_bw=10GB/s,inter_latency=1us,base_latency=0us,algorithm=ring");
  EXPECT_NEAR(all_reduce_time(network, 4, 10'000'000).seconds, 6e-6 + 1.5e-3, 1e-12);
}

TEST(NetworkModel, MoreBytesNeverTakeLessTime) {
  for (const auto algorithm : {AllReduceAlgorithm::kAuto, AllReduceAlgorithm::kRing,
                               AllReduceAlgorithm::kTree, AllReduceAlgorithm::kHierarchical}) {
    const NetworkModel network = cluster(algorithm);
    for (const int gpus : {2, 8, 64, 4096}) {
      double before = 0;
      for (size_t bytes = 1; bytes < size_t{1} << 31; bytes *= 4) {
        const double now = all_reduce_time(network, gpus, bytes).seconds;
        EXPECT_GE(now, before) << gpus << " GPUs, " << bytes << " bytes";
        before = now;
      }
    }
  }
}

TEST(NetworkModel, MoreNodesNeverTakeLessTime) {
  for (const auto algorithm : {AllReduceAlgorithm::kRing, AllReduceAlgorithm::kTree}) {
    double before = 0;
    for (int gpus = 8; gpus <= 4096; gpus *= 2) {
      const double now = all_reduce_time(cluster(algorithm), gpus, 25'000'000).seconds;
      EXPECT_GE(now, before) << gpus;
      before = now;
    }
  }
}

template <typename F>
std::string refusal(F action) {
  try {
    action();
    return "";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    return error.what();
  }
}

TEST(NetworkModel, SpecsThatCannotBeAreNamed) {
  EXPECT_NE(refusal([] { parse_network("nvlink9"); }).find("no link 'nvlink9' within"), std::string::npos);
  EXPECT_NE(refusal([] { parse_network("nvlink4+ib1"); }).find("no link 'ib1' between"), std::string::npos);
  EXPECT_NE(refusal([] { parse_network("nvlink4,latency=1us"); }).find("no key 'latency'"),
            std::string::npos);
  EXPECT_NE(refusal([] { parse_network("nvlink4,intra_bw=5"); }).find("GB/s"), std::string::npos);
  EXPECT_NE(refusal([] { parse_network("nvlink4,efficiency=2"); }).find("at most 1"), std::string::npos);
  EXPECT_NE(refusal([] { parse_network("adapters=2"); }).find("intra_bw"), std::string::npos);
  EXPECT_NE(refusal([] { all_reduce_time(parse_network("nvlink4"), 16, 1); }).find("no link between nodes"),
            std::string::npos);
  EXPECT_NE(refusal([] { all_reduce_time(parse_network("nvlink4+ib400"), 12, 1); }).find("do not fill"),
            std::string::npos);
}

TEST(NetworkModel, PresetsAndKeysAfterThem) {
  const NetworkModel network = parse_network("nvlink4+ib400x8,efficiency=0.5,gpus_per_node=4");
  EXPECT_EQ(network.intra_bandwidth, 450e9);
  EXPECT_EQ(network.inter_bandwidth, 50e9);
  EXPECT_EQ(network.adapters, 8);
  EXPECT_EQ(network.gpus_per_node, 4);
  EXPECT_EQ(network.efficiency, 0.5);
}

TEST(NetworkFit, FindsTheRingThatMadeTheTimes) {
  const NetworkModel ring = one_node(12e9, 4e-6);
  std::vector<MeasuredSum> sums;
  for (const size_t bytes : {1'000u, 64'000u, 4'000'000u, 256'000'000u})
    sums.push_back({bytes, all_reduce_time(ring, 4, bytes).seconds});
  const FittedNetwork fitted = fit_network(sums, 4);
  EXPECT_NEAR(fitted.model.intra_bandwidth / 12e9, 1, 1e-9);
  EXPECT_NEAR(fitted.model.intra_latency / 4e-6, 1, 1e-9);
  EXPECT_LT(fitted.worst_deviation, 1e-9);
  sums[1].seconds *= 1.5;
  EXPECT_GT(fit_network(sums, 4).worst_deviation, 0.1) << "a time off the line is told";
}

TEST(NetworkFit, TimesThatSayNothingAreRefused) {
  const auto kind = [](std::vector<MeasuredSum> sums, int ranks) {
    try {
      fit_network(sums, ranks);
      return ErrorKind::kInternal;
    } catch (const Error& error) {
      return error.kind();
    }
  };
  EXPECT_EQ(kind({{1, 1}, {2, 2}}, 1), ErrorKind::kData);
  EXPECT_EQ(kind({{1, 1}, {1, 2}}, 2), ErrorKind::kData);
  EXPECT_EQ(kind({{1, 1}, {2, 0}}, 2), ErrorKind::kData);
  EXPECT_EQ(kind({{1, 2}, {2, 1}}, 2), ErrorKind::kData);
  EXPECT_EQ(kind({}, 2), ErrorKind::kData);
}

TEST(Quantity, UnitsOfBitsAndBytes) {
  EXPECT_DOUBLE_EQ(parse_quantity("x", "400Gb/s", byte_rates()), 50e9);
  EXPECT_DOUBLE_EQ(parse_quantity("x", "1.5TB/s", byte_rates()), 1.5e12);
  EXPECT_DOUBLE_EQ(parse_quantity("x", "3.4us", times()), 3.4e-6);
  EXPECT_EQ(parse_quantity("x", "infGB/s", byte_rates()), kInfinity);
  EXPECT_EQ(refusal([] { parse_quantity("--chip: bytes", "fastGB/s", byte_rates()); }),
            "--chip: bytes is 'fastGB/s', but must be a number of 0 or more");
}

TEST(Roofline, TheLargerOfBytesAndFlops) {
  const ChipModel chip{
      .bytes_per_second = 2e12, .flops_per_second = 100e12, .launch_seconds = 1e-6, .reached = 0.5};
  EXPECT_DOUBLE_EQ(
      roofline_seconds(chip,
                       {.bytes_read = 1'000'000, .bytes_written = 1'000'000, .flops = 1, .launches = 1}),
      1e-6 + 2e-6);
  EXPECT_DOUBLE_EQ(
      roofline_seconds(chip, {.bytes_read = 2, .bytes_written = 2, .flops = 1'000'000'000, .launches = 2}),
      2e-6 + 20e-6);
}

StepPart launch(double seconds, bool waits = false) {
  return {.seconds = seconds, .waits = waits};
}

StepPart all_reduce(size_t bytes) {
  return {.reduced_bytes = bytes, .phase = Phase::kBackward};
}

/// A second a byte.
double slow_link(size_t bytes) {
  return static_cast<double>(bytes);
}

TEST(Simulation, OneBucketHasNothingToHideBehind) {
  const SimulatedStep step =
      simulate_step(std::vector{launch(2), launch(3), all_reduce(4), launch(1, true)}, slow_link);
  EXPECT_EQ(step.seconds, 2 + 3 + 4 + 1);
  EXPECT_EQ(step.exposed_seconds(), 4);
  EXPECT_DOUBLE_EQ(step.efficiency(), 0.6);
}

TEST(Simulation, BucketsHideBehindTheBackwardPass) {
  // Sums of 4 s begin after 2 s and go on until 6; the next ones follow until 9, 2 s after the last launch
  // before.
  const SimulatedStep step = simulate_step(
      std::vector{launch(2), all_reduce(4), launch(5), all_reduce(2), launch(1, true)}, slow_link);
  EXPECT_EQ(step.seconds, 2 + 5 + 2 + 1);
  EXPECT_EQ(step.communication_seconds, 6);
  EXPECT_EQ(step.exposed_seconds(), 2);
}

TEST(Simulation, BucketsWaitForEachOther) {
  const SimulatedStep step = simulate_step(
      std::vector{launch(1), all_reduce(5), launch(1), all_reduce(5), launch(1, true)}, slow_link);
  EXPECT_EQ(step.seconds, 1 + 5 + 5 + 1);
}

TEST(Simulation, WithoutComputationThereIsOnlyCommunication) {
  const SimulatedStep step =
      simulate_step(std::vector{launch(0), all_reduce(3), all_reduce(4), launch(0, true)}, slow_link);
  EXPECT_EQ(step.seconds, 7);
  EXPECT_EQ(step.seconds, step.communication_seconds);
}

TEST(Simulation, ALaunchThatReadsNoSumDoesNotWait) {
  const SimulatedStep step =
      simulate_step(std::vector{launch(1), all_reduce(3), launch(1), launch(1)}, slow_link);
  EXPECT_EQ(step.seconds, 4) << "the step ends with the sums";
}

TEST(Simulation, SlowdownIsOnlyWhileSumsAreUnderWay) {
  // 4 s at half speed do 2 of the 5 s of work, the other 3 follow at full speed.
  const SimulatedStep step =
      simulate_step(std::vector{launch(1), all_reduce(4), launch(5), launch(1, true)}, slow_link, 0.5);
  EXPECT_EQ(step.seconds, 1 + 4 + 3 + 1);
  // Work that ends before the sums: 1 s of it takes 2.
  const SimulatedStep behind =
      simulate_step(std::vector{launch(1), all_reduce(4), launch(1), launch(1, true)}, slow_link, 0.5);
  EXPECT_EQ(behind.seconds, 1 + 4 + 1);
}

/// ResNet-20's step with all-reduces, by a roofline.
class PlannedStep : public testing::Test {
 protected:
  static Plan plan_with(size_t bucket_bytes) {
    const std::unique_ptr<Backend> backend = make_planning_backend("cpu", {.threads = 1});
    TrainingPassOptions passes = backend_passes(*backend);
    passes.update.ranks = 2;
    passes.bucket_bytes = bucket_bytes;
    ModelOptions model;
    model.batch = 8;
    return make_plan(run_passes(build_model("cifar_resnet20", model), training_passes(passes)), *backend);
  }

  static std::vector<StepPart> parts_of(const Plan& plan) {
    const ChipModel chip{.bytes_per_second = 1e11, .flops_per_second = 1e12};
    return step_parts(plan, [&](size_t g) { return roofline_seconds(chip, plan.launches[g]->cost()); });
  }

  static SimulatedStep step_on(std::span<const StepPart> parts, const NetworkModel& network, int gpus) {
    return simulate_step(parts, [&](size_t bytes) { return all_reduce_time(network, gpus, bytes).seconds; });
  }
};

TEST_F(PlannedStep, AllGradientsAndStatisticsAreSummedOnce) {
  // Parameters of ResNet-20 with projections of kind A, and mean and variance of its batch norms.
  constexpr size_t kParameters = 269'722, kStatistics = 2 * (16 * 7 + 32 * 6 + 64 * 6);
  size_t bytes = 0, buckets = 0;
  for (const StepPart& part : parts_of(plan_with(100'000))) {
    bytes += part.reduced_bytes;
    buckets += part.reduced_bytes > 0 ? 1 : 0;
  }
  EXPECT_EQ(bytes, 4 * (kParameters + kStatistics));
  EXPECT_GT(buckets, 3u);
}

TEST_F(PlannedStep, TheUpdateWaits) {
  const std::vector<StepPart> parts = parts_of(plan_with(0));
  bool waits = false;
  for (const StepPart& part : parts) {
    waits |= part.waits;
    EXPECT_FALSE(waits && part.reduced_bytes > 0) << "a launch reads sums before the last ones are begun";
    EXPECT_FALSE(part.waits && part.phase < Phase::kBackward);
  }
  EXPECT_TRUE(waits);
}

TEST_F(PlannedStep, AFreeNetworkChangesNothing) {
  const std::vector<StepPart> parts = parts_of(plan_with(0));
  const SimulatedStep step = step_on(parts, one_node(kInfinity, 0), 4096);
  double launches = 0;
  for (const StepPart& part : parts) launches += part.seconds;
  EXPECT_GT(launches, 0);
  EXPECT_NEAR(step.seconds, launches, 1e-12);
  EXPECT_NEAR(step.efficiency(), 1, 1e-12);
}

TEST_F(PlannedStep, MoreGpusNeverMakeARingStepShorter) {
  const std::vector<StepPart> parts = parts_of(plan_with(100'000));
  const NetworkModel network = one_node(1e9, 1e-6);
  double before = 0;
  for (int gpus = 1; gpus <= 4096; gpus *= 2) {
    const SimulatedStep step = step_on(parts, network, gpus);
    EXPECT_GE(step.seconds, before);
    EXPECT_GE(step.exposed_seconds(), 0);
    EXPECT_LE(step.exposed_seconds(), step.communication_seconds + 1e-15);
    EXPECT_GE(step.seconds, std::max(step.compute_seconds, step.communication_seconds));
    before = step.seconds;
  }
}

TEST_F(PlannedStep, OneBucketIsTheSumOfComputationAndCommunication) {
  const std::vector<StepPart> parts = parts_of(plan_with(size_t{1} << 40));
  size_t buckets = 0, bytes = 0;
  for (const StepPart& part : parts) {
    buckets += part.reduced_bytes > 0 ? 1 : 0;
    bytes += part.reduced_bytes;
  }
  ASSERT_EQ(buckets, 1u);
  const SimulatedStep step = step_on(parts, one_node(2e9, 3e-6), 16);
  // The last gradient, the stem's, ends the backward pass: nothing runs beside.
  const double ring = 30.0 / 16 * static_cast<double>(bytes) / 2e9 + 30 * 3e-6;
  EXPECT_NEAR(step.seconds, step.compute_seconds + ring, 1e-12);
}

TEST_F(PlannedStep, BucketsOverlapWhatOneBucketCannot) {
  const NetworkModel network = one_node(2e9, 0);
  const SimulatedStep one = step_on(parts_of(plan_with(size_t{1} << 40)), network, 16);
  const SimulatedStep many = step_on(parts_of(plan_with(100'000)), network, 16);
  EXPECT_LT(many.seconds, one.seconds);
  EXPECT_NEAR(many.communication_seconds, one.communication_seconds, 1e-12);
}

}  // namespace
}  // namespace residuum
