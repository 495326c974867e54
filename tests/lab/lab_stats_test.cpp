// What the laboratory measures against numbers known in advance: exact scales of shortcuts, gradients of the
// loss, ranks of small matrices, units that must stay tied.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/core/check.h"
#include "engine/graph/autodiff.h"
#include "engine/graph/passes.h"
#include "engine/lab/layer_stats.h"
#include "engine/lab/responses.h"
#include "engine/lab/shortcut_scale.h"
#include "engine/lab/tied_units.h"
#include "engine/lab/weight_units.h"
#include "tests/support/lab_net.h"

namespace residuum {
namespace {

/// Blocks x -> lambda x + conv(relu(x)), nothing after the addition.
ModelBuilder scaled_shortcuts(int blocks, float lambda) {
  return net_of_blocks(8, [=](GraphBuilder& b, ValueId x) {
    for (int i = 0; i < blocks; ++i) {
      const std::string name = fmt::format("block{}", i);
      b.begin_block(name, x);
      const ValueId branch = b.conv(name, b.relu(x), 8, 3, {.pad = 1});
      x = b.add(branch, b.scale(x, lambda));
      b.end_block(x);
    }
    return x;
  });
}

TEST(LabLambda, TheIdentityPathCarriesExactlyTheProduct) {
  LabNet net("scaled", scaled_shortcuts(6, 0.5f));
  const ShortcutScales scales = shortcut_scales(net.subject(), {.batch = 4});
  ASSERT_EQ(scales.blocks.size(), 6u);
  for (const ShortcutScale& scale : scales.blocks) {
    EXPECT_EQ(scale.lambda, 0.5);
    EXPECT_EQ(scale.forward, 0.5) << scale.block;
    EXPECT_EQ(scale.backward, 0.5) << scale.block;
  }
  EXPECT_EQ(scales.product, std::pow(2.0, -6));
  EXPECT_EQ(scales.forward, std::pow(2.0, -6));
  EXPECT_EQ(scales.backward, std::pow(2.0, -6));
}

TEST(LabLambda, ShortcutsThatAreNotConstant) {
  LabNet net("cifar_preresnet14");
  const ShortcutScales scales = shortcut_scales(net.subject(), {.batch = 4, .mode = Mode::kTrain});
  EXPECT_EQ(scales.blocks[1].lambda, 1);
  EXPECT_EQ(scales.blocks[1].forward, 1);
  EXPECT_EQ(scales.blocks[1].backward, 1);
  EXPECT_FALSE(scales.blocks[2].lambda.has_value()) << "a block that samples down";
  EXPECT_FALSE(scales.product.has_value());
  EXPECT_THROW(shortcut_scales(LabNet("cifar_plain8").subject(), {.batch = 4}), Error);
}

TEST(LabGradients, AgreeWithTheGradientOfTheLoss) {
  LabNet net("cifar_resnet8");
  LayerProbe probe(net.subject(), sample_batches(net.subject(), 4, 1, 1), 1);
  const NetStats stats = probe.look(0);
  // The gradient of the mean cross-entropy at the logits is (softmax - target) / batch.
  const std::vector<float> logits = net.logits(net.graph(Mode::kTrain));
  const std::vector<int32_t> labels = sample_batches(net.subject(), 4, 1, 1).batches[0].labels;
  const size_t classes = logits.size() / labels.size();
  double squares = 0, loss = 0;
  for (size_t row = 0; row < labels.size(); ++row) {
    double sum = 0;
    for (size_t k = 0; k < classes; ++k) sum += std::exp(static_cast<double>(logits[row * classes + k]));
    for (size_t k = 0; k < classes; ++k) {
      const double p = std::exp(static_cast<double>(logits[row * classes + k])) / sum;
      const bool target = static_cast<int32_t>(k) == labels[row];
      squares += std::pow((p - (target ? 1 : 0)) / 4, 2);
      if (target) loss -= std::log(p) / 4;
    }
  }
  ASSERT_EQ(stats.layers.size(), 8u);
  EXPECT_EQ(stats.layers.back().name, "fc");
  EXPECT_NEAR(stats.loss, loss, 1e-5 * loss);
  EXPECT_NEAR(stats.layers.back().output_gradient, std::sqrt(squares), 1e-5 * std::sqrt(squares));
  double weight = 0;
  for (const float w : net.values("conv1.weight")) weight += std::pow(static_cast<double>(w), 2);
  EXPECT_NEAR(stats.layers[0].weight, std::sqrt(weight), 1e-9);
  EXPECT_EQ(stats.blocks.size(), 3u);
}

TEST(LabGradients, FollowTraining) {
  LabNet net("cifar_resnet8");
  GradientOptions options;
  options.batch = 16;
  options.steps = 5;
  options.every = 2;
  const std::vector<NetStats> looks = layer_statistics(net.subject(), options);
  ASSERT_EQ(looks.size(), 4u);
  EXPECT_EQ(looks[0].step, 0);
  EXPECT_EQ(looks[3].step, 5);
  EXPECT_LT(looks[3].loss, looks[0].loss) << "it learns";
  EXPECT_NE(looks[3].layers[0].weight, looks[0].layers[0].weight);
}

TEST(LabResponse, IsTheGammaOfTheBatchNorm) {
  LabNet net("cifar_resnet8");
  net.fill("layer1.0.bn2.weight", 2.5f);
  const std::vector<Response> responses = layer_responses(net.subject(), {.batch = 8, .mode = Mode::kTrain});
  ASSERT_EQ(responses.size(), 7u) << "every 3x3";
  for (const Response& response : responses) {
    EXPECT_NEAR(response.std, response.layer == "layer1.0.conv2" ? 2.5 : 1, 0.02) << response.layer;
    EXPECT_NEAR(response.mean, 0, 1e-4) << response.layer;
  }
}

TEST(LabIteration, BlocksThatDoNothingMakeNoError) {
  LabNet net("cifar_resnet20");
  net.fill("layer2.2.bn2.weight", 0);
  const std::vector<Estimate> estimates = stage_estimates(net.subject(), {.batch = 8, .mode = Mode::kTrain});
  ASSERT_EQ(estimates.size(), 9u);
  EXPECT_GT(estimates[3].error_std, 0) << "layer2.0";
  EXPECT_EQ(estimates[4].error_std, 0) << "layer2.1, whose successor does nothing";
  EXPECT_EQ(estimates[8].error_std, 0) << "a stage's last block is what it estimates";
  EXPECT_GT(estimates[7].error_std, 0);
  EXPECT_GT(estimates[8].stage_std, 0);
  EXPECT_THROW(stage_estimates(LabNet("cifar_resnet8").subject(), {.batch = 4}), Error);
}

TEST(LabUnits, EffectiveRank) {
  EXPECT_NEAR(effective_rank({1, 0, 0, 0, 1, 0, 0, 0, 1}, 3, 3), 3, 1e-9);
  EXPECT_NEAR(effective_rank({1, 2, 3, 2, 4, 6}, 2, 3), 1, 1e-6);
  const double p = 2.0 / 3, q = 1.0 / 3;
  EXPECT_NEAR(effective_rank({2, 0, 0, 1, 0, 0}, 3, 2), std::exp(-p * std::log(p) - q * std::log(q)), 1e-9);
  EXPECT_EQ(effective_rank({0, 0, 0, 0}, 2, 2), 0);
}

TEST(LabUnits, OverlapsAndPairs) {
  LabNet net("cifar_resnet8");
  std::vector<float> weight = net.values("layer1.0.conv1.weight");
  const std::ptrdiff_t row = static_cast<std::ptrdiff_t>(weight.size()) / 16;
  for (std::ptrdiff_t i = 0; i < row; ++i) {
    weight[static_cast<size_t>(3 * row + i)] = 2 * weight[static_cast<size_t>(i)];  // unit 3 along unit 0
    weight[static_cast<size_t>(5 * row + i)] =
        -weight[static_cast<size_t>(4 * row + i)];  // unit 5 against unit 4
    weight[static_cast<size_t>(7 * row + i)] = 0;
  }
  net.set("layer1.0.conv1.weight", weight);
  const std::vector<UnitStats> units = unit_statistics(net.graph(), net.state(), 1);
  EXPECT_EQ(units[1].layer, "layer1.0.conv1");
  EXPECT_NEAR(units[1].largest_overlap, 1, 1e-6);
  EXPECT_LT(units[2].largest_overlap, 0.9);
  EXPECT_EQ(units[1].smallest_norm, 0);
  EXPECT_LT(units[1].effective_rank, 13.01) << "16 units, three of them dependent";
  EXPECT_LT(units[0].effective_rank, 9.01) << "nine inputs";
  EXPECT_EQ(units.back().layer, "fc");
  const std::vector<PairingStats> pairs = pairing_statistics(net.graph(), net.state(), "net", 1);
  EXPECT_NEAR(pairs[1].cosines.front(), -1, 1e-6);
  EXPECT_NEAR(pairs[1].cosines[1], -1, 1e-6);
  EXPECT_GT(pairs[1].cosines[2], -0.9);
  EXPECT_EQ(pairs.size(), 7u);
}

/// The gradient of the mean loss with respect to a parameter, of `net` in training.
std::vector<float> weight_gradient(const LabNet& net, const std::string& name) {
  const SampleBatches samples = sample_batches(net.subject(), 8, 1, 1);
  Graph graph = differentiate(forward_graph(net.subject(), Mode::kTrain, samples), {});
  graph.outputs = {{"d", graph.gradients.at(graph.find(name).value())}};
  Probe probe(prune(std::move(graph)), net.subject(), 1);
  probe.write(samples.batches[0]);
  probe.run();
  return probe.read("d");
}

TEST(LabUnits, AnEliminatedUnitLearnsOnlyWithAShortcut) {
  // Unit 0 of the first block's last layer has no outgoing weights in the next block: an elimination
  // singularity.
  for (const char* model : {"cifar_plain14", "cifar_resnet14"}) {
    LabNet net(model);
    std::vector<float> outgoing = net.values("layer1.1.conv1.weight");
    for (size_t i = 0; i < outgoing.size(); i += 16) outgoing[i] = 0;
    net.set("layer1.1.conv1.weight", outgoing);
    const std::vector<float> gradient = weight_gradient(net, "layer1.0.conv2.weight");
    const auto row = static_cast<std::ptrdiff_t>(gradient.size() / 16);
    const auto is_zero = [](float g) { return g == 0; };
    const bool plain = std::string(model) == "cifar_plain14";
    EXPECT_EQ(std::all_of(gradient.begin(), gradient.begin() + row, is_zero), plain) << model;
    EXPECT_FALSE(std::all_of(gradient.begin() + row, gradient.begin() + 2 * row, is_zero))
        << "unit 1 is alive";
  }
}

TEST(LabUnits, TiedUnitsOfEveryKindOfBlock) {
  const auto equal_after = [](const std::string& model, const std::vector<std::string>& keys) {
    LabNet net(model, keys);
    const TiedUnits tied = tied_units(net.subject(), "", 2);
    EXPECT_TRUE(tied.moments[0].equal) << model;
    return tied.moments[2].equal;
  };
  EXPECT_TRUE(equal_after("mnist_plain5_8", {})) << "fully connected";
  EXPECT_TRUE(equal_after("cifar_plain14", {"model.activation=crelu"}))
      << "both halves of the channels are tied";
  EXPECT_TRUE(equal_after("cifar_plain14", {"model.activation=tanh", "model.batch_norm=false"}));
  EXPECT_FALSE(equal_after("mnist_highway5_8", {}));
  EXPECT_FALSE(equal_after("cifar_highway11", {}));
  for (const char* key : {"model.gate=exclusive", "model.placement=relu_before_addition",
                          "model.placement=preactivation", "model.branch_scale=0.5"}) {
    EXPECT_FALSE(equal_after("cifar_resnet14", {key})) << key;
  }
}

TEST(LabUnits, TiedUnitsPartOnlyWithAShortcut) {
  LabNet plain("cifar_plain14"), residual("cifar_resnet14");
  const TiedUnits tied = tied_units(plain.subject(), "layer1.1", 4);
  EXPECT_EQ(tied.layer, "layer1.1.conv2");
  EXPECT_FALSE(tied.shortcut);
  for (const TiedUnits::Moment& moment : tied.moments) EXPECT_TRUE(moment.equal) << "step " << moment.step;
  EXPECT_NE(plain.values("layer1.1.conv2.weight"), LabNet("cifar_plain14").values("layer1.1.conv2.weight"));
  const TiedUnits parted = tied_units(residual.subject(), "layer1.1", 1);
  EXPECT_TRUE(parted.shortcut);
  ASSERT_EQ(parted.moments.size(), 2u);
  EXPECT_TRUE(parted.moments[0].equal);
  EXPECT_FALSE(parted.moments[1].equal) << "after one step";
}

}  // namespace
}  // namespace residuum
