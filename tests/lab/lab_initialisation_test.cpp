// What nets are at initialisation, before anything is learned: how gradients grow or vanish with depth, how
// the residual stream widens, how the gradient falls along longer paths. He's initialisation, batch
// statistics, 32 images of noise; the windows are a factor of two around the figures of an independent fp32
// engine, for what depends on images and seed.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/lab/layer_stats.h"
#include "engine/lab/path_gradients.h"
#include "tests/support/lab_net.h"

namespace residuum {
namespace {

constexpr int64_t kBatch = 32;

LabNet net_of(const std::string& model, const std::vector<std::string>& keys = {}, uint64_t seed = 1) {
  return LabNet(model, keys, noise_data(16), seed);
}

NetStats look_at(const std::string& model, const std::vector<std::string>& keys = {}) {
  const LabNet net = net_of(model, keys);
  return LayerProbe(net.subject(), sample_batches(net.subject(), kBatch, 1, 1), 1).look(0);
}

double first_over_last(const std::string& model, const std::vector<std::string>& keys = {}) {
  return look_at(model, keys).first_over_last;
}

TEST(Initialisation, BatchNormMakesGradientsOfPlainNetsExplodeAndShortcutsTameThem) {
  const double plain20 = first_over_last("cifar_plain20"), plain56 = first_over_last("cifar_plain56"),
               plain110 = first_over_last("cifar_plain110");
  const auto within = [](double found, double low, double high) {
    return found > low / 2 && found < 2 * high;
  };
  EXPECT_PRED3(within, plain20, 11, 12);
  EXPECT_PRED3(within, plain56, 1e3, 4e3);
  EXPECT_GT(plain110, 1e6) << "4e6 to 6e6; 2 % a layer are a factor of six here";
  EXPECT_LT(plain110, 4e7);
  const double factor = std::pow(plain110 / plain20, 1.0 / 90);
  EXPECT_GT(factor, 1.14) << "1.17 to 1.21 a layer";
  EXPECT_LT(factor, 1.24);
  EXPECT_PRED3(within, first_over_last("cifar_resnet20"), 4, 4);
  EXPECT_PRED3(within, first_over_last("cifar_resnet56"), 12, 13);
  const double resnet110 = first_over_last("cifar_resnet110");
  EXPECT_PRED3(within, resnet110, 22, 29);
  const double preresnet110 = first_over_last("cifar_preresnet110");
  EXPECT_GT(preresnet110, resnet110);
  EXPECT_LT(preresnet110, 10 * resnet110);
}

TEST(Initialisation, SigmoidsWithoutBatchNormMakeThemVanish) {
  const std::vector<std::string> sigmoid = {"model.activation=sigmoid", "model.batch_norm=false"};
  for (const int depth : {20, 32}) {
    const double ratio = first_over_last(fmt::format("cifar_plain{}", depth), sigmoid);
    EXPECT_GT(ratio, 0);
    EXPECT_LT(ratio, std::pow(4.0, -(depth - 4))) << "each of the layers between shrinks it by 4, about";
  }
}

TEST(Initialisation, AScaledShortcutWithALiveBranchExplodesToo) {
  EXPECT_GT(first_over_last("cifar_resnet56", {"model.shortcut_scale=0.5"}),
            10 * first_over_last("cifar_resnet56"));
}

TEST(Initialisation, TheResidualStreamGrowsFastestWhereAReluEndsTheBranch) {
  const auto stream = [](const std::string& placement) {
    std::vector<double> stds;
    for (const BlockStats& block : look_at("cifar_resnet56", {"model.placement=" + placement}).blocks) {
      stds.push_back(block.stream_std);
    }
    return stds;
  };
  const std::vector<double> original = stream("original"), relu = stream("relu_before_addition"),
                            full = stream("preactivation");
  ASSERT_EQ(original.size(), 27u);
  for (const std::vector<double>& stds : {original, relu, full}) {
    for (const size_t stage : {0u, 9u, 18u}) EXPECT_GT(stds[stage + 8], 1.05 * stds[stage + 1]) << stage;
  }
  EXPECT_GT(relu.back(), 1.2 * original.back());
  EXPECT_GT(relu.back(), 1.2 * full.back());
}

TEST(Initialisation, APathsGradientFallsByOneFactorForEachModule) {
  const LabNet net = net_of("cifar_resnet110");
  PathOptions options;
  options.samples = 1;
  options.batch = 4;
  for (int modules = 0; modules <= 24; modules += 4) options.lengths.push_back(modules);
  const PathReport report = sample_paths(net.subject(), options);
  EXPECT_NEAR(report.factor_per_module, 0.47, 0.08);
  const double first = std::log(report.lengths.front().mean_norm), slope = std::log(report.factor_per_module);
  for (const PathReport::Length& length : report.lengths) {
    EXPECT_NEAR(std::log(length.mean_norm), first + slope * length.modules, 3.5)
        << "of a fall by 18: log-linear";
  }
}

}  // namespace
}  // namespace residuum
