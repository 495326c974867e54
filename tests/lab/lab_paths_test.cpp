// Numbers of paths against the binomial theorem, gradients along paths against the ordinary gradient.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/core/check.h"
#include "engine/graph/autodiff.h"
#include "engine/graph/passes.h"
#include "engine/lab/draw.h"
#include "engine/lab/layer_stats.h"
#include "engine/lab/path_gradients.h"
#include "models/zoo.h"
#include "tests/support/lab_net.h"

namespace residuum {
namespace {

TEST(LabPaths, BinomialsAreExact) {
  std::vector<uint64_t> row = {1};
  for (int n = 1; n <= 60; ++n) {
    std::vector<uint64_t> next(row.size() + 1, 1);
    for (size_t k = 1; k < row.size(); ++k) next[k] = row[k - 1] + row[k];
    row = next;
    const std::vector<BigCount> found = binomials(n);
    ASSERT_EQ(found.size(), row.size());
    for (size_t k = 0; k < row.size(); ++k)
      EXPECT_EQ(found[k].to_string(), std::to_string(row[k])) << n << " " << k;
  }
}

TEST(LabPaths, CountsOfAnySize) {
  BigCount power = 1;
  for (int i = 0; i < 600; ++i) power += BigCount(power);
  EXPECT_EQ(power.to_string(),
            "414951556888099295851240786369116115101244623224243689999565732969065281141290814639970704"
            "8947103794288197886611300789182395151075411775307886874834113963687061181803401509523685376");
  EXPECT_NEAR(power.log(), 600 * std::log(2.0), 1e-10);
  EXPECT_EQ(BigCount().to_string(), "0");
  EXPECT_EQ((BigCount(999'999'999'999'999'999) + BigCount(1)).to_string(), "1000000000000000000");
  EXPECT_EQ((BigCount(UINT64_MAX) + BigCount(UINT64_MAX)).to_string(), "36893488147419103230");
}

TEST(LabPaths, ResNet110HasTwoToThe54) {
  const PathCount count = count_paths(build_model("cifar_resnet110", {}));
  EXPECT_EQ(count.modules, 54);
  EXPECT_EQ(count.paths.to_string(), "18014398509481984");
  EXPECT_EQ(count.ways, count.paths);
  EXPECT_EQ(count.low, 19);
  EXPECT_EQ(count.high, 35);
  EXPECT_NEAR(count.share_in_span, 0.98017, 1e-5);
  EXPECT_NEAR(share_of_paths(count.by_modules, 5, 17), 0.00453667, 1e-8);
  ASSERT_EQ(count.by_layers.size(), 111u) << "at most 110 weight layers";
  for (size_t k = 0; k <= 54; ++k) EXPECT_EQ(count.by_layers[2 * k + 2], count.by_modules[k]) << k;
  for (size_t l = 1; l < 111; l += 2) EXPECT_TRUE(count.by_layers[l].is_zero()) << l;
}

TEST(LabPaths, ProjectionsAreLayers) {
  // Of resnet50's 16 blocks 4 have a 1x1 on the shortcut: (x^3 + 1)^12 (x^3 + x)^4, times stem and
  // classifier.
  const PathCount count = count_paths(build_model("resnet50", {}));
  EXPECT_EQ(count.paths.to_string(), "65536");
  EXPECT_EQ(count.by_layers.size(), 51u);
  EXPECT_EQ(count.by_layers[6].to_string(), "1") << "the shortest: stem, four projections, classifier";
  EXPECT_EQ(count.by_layers[8].to_string(), "4") << "one projection became a branch";
  EXPECT_EQ(count.by_layers[50].to_string(), "1");
}

TEST(LabPaths, EveryWayThroughConcatenationsCounts) {
  LabNet net("dense", net_of_blocks(8, [](GraphBuilder& b, ValueId x) {
               for (const char* name : {"a", "b", "c"}) x = b.concat({x, b.conv(name, x, 4, 3, {.pad = 1})});
               return x;
             }));
  const PathCount count = count_paths(net.graph());
  EXPECT_EQ(count.modules, 0);
  EXPECT_EQ(count.ways.to_string(), "8");
  EXPECT_EQ(count.paths, count.ways);
  const std::vector<std::string> expected = {"0", "0", "1", "3", "3", "1"};
  ASSERT_EQ(count.by_layers.size(), expected.size());
  for (size_t l = 0; l < expected.size(); ++l) EXPECT_EQ(count.by_layers[l].to_string(), expected[l]) << l;
}

/// The ordinary gradient of the mean loss with respect to the normalised images.
std::vector<float> ordinary_gradient(const LabNet& net, const SampleBatches& samples) {
  Graph graph = forward_graph(net.subject(), Mode::kTrain, samples);
  const ValueId images = graph.nodes[0].outputs[0];
  graph = differentiate(std::move(graph), {images});
  graph.outputs = {{"d", graph.gradients.at(images)}};
  Probe probe(prune(std::move(graph)), net.subject(), 1);
  probe.write(samples.batches[0]);
  probe.run();
  return probe.read("d");
}

TEST(LabPaths, TheGradientsOfAllPathsAddUpToTheGradient) {
  for (const char* model : {"cifar_resnet8", "cifar_preresnet8", "cifar_resnet14"}) {
    LabNet net(model);
    const SampleBatches samples = sample_batches(net.subject(), 4, 1, 1);
    const std::vector<float> expected = ordinary_gradient(net, samples);
    PathProbe probe(net.subject(), samples, 1);
    probe.write(samples.batches[0]);
    EXPECT_EQ(probe.whole(), expected) << model << ": with all gates open, bit for bit";
    std::vector<double> sum(expected.size());
    for (int mask = 0; mask < 1 << probe.modules(); ++mask) {
      std::vector<int> branches;
      for (int i = 0; i < probe.modules(); ++i) {
        if ((mask >> i & 1) != 0) branches.push_back(i);
      }
      const std::vector<float> part = probe.along(branches);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(part[i]);
    }
    double difference = 0, norm = 0;
    for (size_t i = 0; i < sum.size(); ++i) {
      difference += std::pow(sum[i] - static_cast<double>(expected[i]), 2);
      norm += std::pow(static_cast<double>(expected[i]), 2);
    }
    EXPECT_GT(norm, 0) << model;
    EXPECT_LT(std::sqrt(difference / norm), 1e-5) << model;
  }
}

TEST(LabPaths, BlocksThatWorkInSomeStepsAreOpenInPart) {
  // One of three blocks works in a step: on average a third of each branch.
  const std::string third = "model.branch_scale=0.3333333333333333";
  LabNet sampled("cifar_resnet8", {"model.sampled_blocks=1"}), scaled("cifar_resnet8", {third});
  const SampleBatches samples = sample_batches(sampled.subject(), 4, 1, 1);
  PathProbe found(sampled.subject(), samples, 1), expected(scaled.subject(), samples, 1);
  found.write(samples.batches[0]);
  expected.write(samples.batches[0]);
  for (const std::vector<int>& branches : {std::vector<int>{0, 1, 2}, {0}, {1}, {2}}) {
    EXPECT_EQ(found.along(branches), expected.along(branches));
  }
  EXPECT_EQ(found.whole(), expected.whole());
}

TEST(LabPaths, TheScaleOfTheLossIsNotPartOfAGradient) {
  LabNet net("cifar_resnet8"), large("cifar_resnet8", {"train.loss_scale=1024"});
  const SampleBatches samples = sample_batches(net.subject(), 4, 1, 1);
  PathProbe expected(net.subject(), samples, 1), found(large.subject(), samples, 1);
  expected.write(samples.batches[0]);
  found.write(samples.batches[0]);
  EXPECT_EQ(found.along({1}), expected.along({1})) << "a power of two moves exponents alone";
  const NetStats stats = LayerProbe(net.subject(), samples, 1).look(0),
                 same = LayerProbe(large.subject(), samples, 1).look(0);
  for (size_t i = 0; i < stats.layers.size(); ++i) {
    EXPECT_EQ(same.layers[i].weight_gradient, stats.layers[i].weight_gradient) << stats.layers[i].name;
    EXPECT_EQ(same.layers[i].output_gradient, stats.layers[i].output_gradient) << stats.layers[i].name;
  }
  for (size_t i = 0; i < stats.blocks.size(); ++i) {
    EXPECT_EQ(same.blocks[i].gradient, stats.blocks[i].gradient) << stats.blocks[i].name;
    EXPECT_EQ(same.blocks[i].branch_over_skip, stats.blocks[i].branch_over_skip) << stats.blocks[i].name;
  }
}

TEST(LabPaths, SharesOfAGeometricNormAreBinomial) {
  // Norms r^k make the shares C(n, k) r^k / (1 + r)^n.
  constexpr double kFactor = 0.47;
  PathReport report;
  report.count.by_modules = binomials(54);
  for (int k = 0; k <= 54; ++k) report.lengths.push_back({k, std::pow(kFactor, k), 0});
  summarize_paths(report);
  EXPECT_NEAR(report.factor_per_module, kFactor, 1e-9);
  double choose = 1, below = 0;
  int low = -1, high = -1;
  for (int k = 0; k <= 54; ++k) {
    const double share = choose * std::pow(kFactor, k) / std::pow(1 + kFactor, 54);
    EXPECT_NEAR(report.lengths[static_cast<size_t>(k)].share, share, 1e-12) << k;
    choose *= static_cast<double>(54 - k) / (k + 1);
    if (below < 0.975) high = k;
    below += share;
    if (low < 0 && below > 0.025) low = k;
  }
  EXPECT_EQ(report.effective_low, low);
  EXPECT_EQ(report.effective_high, high);
  EXPECT_LT(high, 27) << "shorter than the mean path";
}

TEST(LabPaths, SamplesAreRepeatable) {
  LabNet net("cifar_resnet14");
  PathOptions options{.samples = 2, .batch = 4, .lengths = {0, 3}};
  const PathReport first = sample_paths(net.subject(), options);
  options.lengths = {3};
  const PathReport second = sample_paths(net.subject(), options);
  EXPECT_EQ(first.lengths[1].mean_norm, second.lengths[0].mean_norm);
  EXPECT_GT(first.lengths[1].std_norm, 0) << "two different paths";
  EXPECT_LT(first.lengths[1].lowest, first.lengths[1].mean_norm);
  EXPECT_GT(first.lengths[1].highest, first.lengths[1].mean_norm);
  EXPECT_EQ(first.lengths[0].std_norm, 0) << "there is one path through shortcuts alone";
  EXPECT_EQ(first.lengths[0].lowest, first.lengths[0].highest);
  options.lengths = {7};
  EXPECT_THROW(sample_paths(net.subject(), options), Error);
}

TEST(LabPaths, APlainNetIsRefusedByName) {
  LabNet net("cifar_plain14");
  try {
    sample_paths(net.subject(), {.batch = 4});
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_NE(std::string(error.what()).find("cifar_plain14"), std::string::npos) << error.what();
  }
}

TEST(LabDraw, KendallsTau) {
  EXPECT_EQ(kendall_tau({0, 1, 2, 3}), 1);
  EXPECT_EQ(kendall_tau({3, 2, 1, 0}), -1);
  EXPECT_DOUBLE_EQ(kendall_tau({1, 0, 2, 3}), 1 - 2.0 / 6);
  EXPECT_DOUBLE_EQ(kendall_tau({2, 1, 0}), -1);
  EXPECT_EQ(kendall_tau({0}), 1);
}

TEST(LabDraw, EveryChoiceIsAsLikely) {
  std::map<std::vector<int>, int> seen;
  for (uint64_t draw = 0; draw < 3000; ++draw) {
    RandomStream random(3, RandomPurpose::kAnalysis, 0, draw);
    ++seen[choose(4, 2, random)];
  }
  EXPECT_EQ(seen.size(), 6u);
  for (const auto& [set, count] : seen) EXPECT_NEAR(count, 500, 110) << "five standard deviations";
}

}  // namespace
}  // namespace residuum
