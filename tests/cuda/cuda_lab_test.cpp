// The laboratory on the CUDA backend: gates on gradients, deleted blocks and fixed gates are ordinary nodes
// there too. Whole nets on the CPU backend are the reference.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/lab/layer_stats.h"
#include "engine/lab/path_gradients.h"
#include "engine/lab/responses.h"
#include "engine/lab/shortcut_scale.h"
#include "engine/lab/surgery.h"
#include "engine/lab/tied_units.h"
#include "tests/support/lab_net.h"

namespace residuum {
namespace {

double relative_difference(const std::vector<float>& found, const std::vector<float>& expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / norm);
}

TEST(CudaLab, PathsAndLesionsAgreeWithTheCpu) {
  const std::vector<std::string> as_is;
  LabNet cpu("cifar_resnet8", as_is, cpu_backend(1)), cuda("cifar_resnet8", as_is, test_backend());
  const SampleBatches samples = sample_batches(cpu.subject(), 4, 1, 1);
  PathProbe expected(cpu.subject(), samples, 1), found(cuda.subject(), samples, 1);
  expected.write(samples.batches[0]);
  found.write(samples.batches[0]);
  for (const std::vector<int>& branches : {std::vector<int>{}, {0, 2}, {0, 1, 2}}) {
    EXPECT_LT(relative_difference(found.along(branches), expected.along(branches)), 1e-4);
  }
  EXPECT_LT(relative_difference(found.whole(), expected.whole()), 1e-4);
  for (int block = 0; block < 2; ++block) {
    EXPECT_LT(relative_difference(cuda.logits(delete_block(cuda.graph(), block)),
                                  cpu.logits(delete_block(cpu.graph(), block))),
              1e-4);
  }
}

TEST(CudaLab, SmallGradientsSurviveInF16) {
  // Through three shortcuts of a 32nd each, next to nothing of an unscaled gradient is left in f16.
  const std::vector<std::string> weak = {"model.shortcut_scale=0.03125"};
  LabNet cpu("cifar_resnet8", weak, cpu_backend(1));
  LabNet cuda("cifar_resnet8", {weak[0], "train.precision=fp16"}, test_backend());
  const SampleBatches samples = sample_batches(cpu.subject(), 4, 1, 1);
  PathProbe expected(cpu.subject(), samples, 1), found(cuda.subject(), samples, 1);
  expected.write(samples.batches[0]);
  found.write(samples.batches[0]);
  EXPECT_LT(relative_difference(found.along({}), expected.along({})), 0.1);
}

/// Two blocks x -> 0.5 x + conv(relu(x)).
LabNet two_blocks(Backend& backend) {
  return LabNet("two blocks",
                net_of_blocks(8,
                              [](GraphBuilder& b, ValueId x) {
                                for (const char* name : {"a", "b"}) {
                                  b.begin_block(name, x);
                                  x = b.add(b.conv(name, b.relu(x), 8, 3, {.pad = 1}), b.scale(x, 0.5f));
                                  b.end_block(x);
                                }
                                return x;
                              }),
                backend);
}

void expect_close(double found, double expected, const std::string& what) {
  EXPECT_NEAR(found, expected, 1e-4 * std::abs(expected) + 1e-7) << what;
}

TEST(CudaLab, StatisticsOfLayersAndBlocksAgreeWithTheCpu) {
  const LabNet cpu = two_blocks(cpu_backend(1)), cuda = two_blocks(test_backend());
  const auto look = [](const LabNet& net) {
    return LayerProbe(net.subject(), sample_batches(net.subject(), 4, 1, 1), 1).look(0);
  };
  const NetStats expected = look(cpu), found = look(cuda);
  ASSERT_EQ(found.layers.size(), 4u);
  ASSERT_EQ(found.blocks.size(), 2u);
  expect_close(found.loss, expected.loss, "loss");
  expect_close(found.first_over_last, expected.first_over_last, "first over last");
  for (size_t i = 0; i < found.layers.size(); ++i) {
    const std::string& name = found.layers[i].name;
    expect_close(found.layers[i].weight, expected.layers[i].weight, name);
    expect_close(found.layers[i].weight_gradient, expected.layers[i].weight_gradient, name);
    expect_close(found.layers[i].output_gradient, expected.layers[i].output_gradient, name);
    expect_close(found.layers[i].output_std, expected.layers[i].output_std, name);
  }
  for (size_t i = 0; i < found.blocks.size(); ++i) {
    expect_close(found.blocks[i].branch_over_skip, expected.blocks[i].branch_over_skip, found.blocks[i].name);
    expect_close(found.blocks[i].stream_std, expected.blocks[i].stream_std, found.blocks[i].name);
  }
  const std::vector<Response> responses = layer_responses(cuda.subject(), {.batch = 4}),
                              same = layer_responses(cpu.subject(), {.batch = 4});
  ASSERT_EQ(responses.size(), 3u);
  for (size_t i = 0; i < responses.size(); ++i)
    expect_close(responses[i].std, same[i].std, responses[i].layer);
  const std::vector<Estimate> estimates = stage_estimates(cuda.subject(), {.batch = 4}),
                              also = stage_estimates(cpu.subject(), {.batch = 4});
  ASSERT_EQ(estimates.size(), also.size());
  for (size_t i = 0; i < also.size(); ++i) {
    expect_close(estimates[i].error_std, also[i].error_std, also[i].block);
  }
  const ShortcutScales scales = shortcut_scales(cuda.subject(), {.batch = 4});
  EXPECT_EQ(scales.product, 0.25);
  EXPECT_EQ(scales.forward, 0.25);
  EXPECT_EQ(scales.backward, 0.25);
}

TEST(CudaLab, TiedUnitsPartOnlyWithAShortcut) {
  LabNet plain("cifar_plain8"), residual("cifar_resnet8");
  EXPECT_TRUE(tied_units(plain.subject(), "layer1.0", 1).moments[1].equal);
  EXPECT_FALSE(tied_units(residual.subject(), "layer1.0", 1).moments[1].equal);
}

}  // namespace
}  // namespace residuum
