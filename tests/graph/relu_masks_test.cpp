// The pass relu_masks: the same gradients from fewer bytes.
#include <gtest/gtest.h>

#include "engine/graph/cost.h"
#include "engine/graph/passes.h"
#include "models/zoo.h"
#include "tests/support/gradients.h"

namespace residuum {
namespace {

Graph with_masks(const Graph& graph) {
  Graph masked = relu_masks(graph);
  masked.validate("relu_masks");
  masked = prune(std::move(masked));
  masked.validate("prune");
  return masked;
}

int64_t bytes_moved(const Graph& graph) {
  Cost total;
  for (const Node& node : graph.nodes) total += node_cost(graph, node);
  return total.bytes();
}

TEST(ReluMasks, KeepTheGradients) {
  for (const char* model : {"cifar_resnet8", "cifar_preresnet8"}) {
    for (const bool repeat : {false, true}) {
      const Graph graph = prune(differentiated(model, repeat));
      expect_same_gradients(graph, with_masks(graph));
    }
  }
}

TEST(ReluMasks, ReplaceEveryReluWhenNothingIsRepeated) {
  for (const char* model : {"cifar_resnet8", "cifar_preresnet8"}) {
    const Graph graph = differentiated(model, false), masked = with_masks(graph);
    EXPECT_EQ(count(masked, "relu_mask"), count(graph, "relu")) << model;
    EXPECT_EQ(count(masked, "relu_mask_backward"), count(graph, "relu_backward")) << model;
    EXPECT_LT(bytes_moved(masked), bytes_moved(prune(graph))) << model;
  }
}

TEST(ReluMasks, ReplaceTheJoinsWhenTheRestIsRepeated) {
  const Graph post = differentiated("cifar_resnet8", true), masked = with_masks(post);
  EXPECT_EQ(count(masked, "relu_mask"), 3) << "one for each block's join";
  EXPECT_LT(bytes_moved(masked), bytes_moved(prune(post)));
  // Before a convolution every ReLU follows a batch norm, which is repeated from values kept anyway.
  const Graph pre = differentiated("cifar_preresnet8", true);
  EXPECT_EQ(count(with_masks(pre), "relu_mask"), 0);
  EXPECT_EQ(bytes_moved(with_masks(pre)), bytes_moved(prune(pre)));
}

TEST(ReluMasks, LeaveAReluWhoseMaskWouldCostMore) {
  Graph graph;
  const ValueId x = graph.add_persistent("x", {DType::kBF16, {2, 3, 3, 1}}, ValueKind::kInput);
  const ValueId y = graph.add_node("relu", Activation{}, {x})[0];
  graph.outputs["d"] = graph.add_node("relu", ActivationBackward{}, {x, y}, Phase::kBackward)[0];
  EXPECT_EQ(count(relu_masks(graph), "relu_mask"), 0) << "two mask bytes an element for two bytes of bf16";
}

TEST(ReluMasks, ArePartOfATrainingStepWhenAskedFor) {
  const Graph graph = run_passes(build_model("cifar_resnet20", {}), training_passes({.relu_masks = true}));
  EXPECT_EQ(count(graph, "relu_mask"), 9);
  EXPECT_EQ(count(run_passes(build_model("cifar_resnet20", {}), training_passes({})), "relu_mask"), 0);
}

}  // namespace
}  // namespace residuum
