// Graph construction, shape errors, autodiff and the passes, on graphs alone: nothing is executed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/core/check.h"
#include "engine/graph/autodiff.h"
#include "engine/graph/builder.h"
#include "engine/graph/cost.h"
#include "engine/graph/passes.h"
#include "models/zoo.h"

namespace residuum {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// conv -> bn -> relu -> pool -> fc on 2x8x8x3 images, as one block.
Graph small_net(Mode mode = Mode::kTrain) {
  GraphBuilder b(mode, DType::kF32);
  ValueId x = b.images(2, 8, 8, 3, {0.5f, 0.5f, 0.5f}, {0.2f, 0.2f, 0.2f});
  b.begin_block("block", x);
  b.set_scope("block.");
  x = b.relu(b.batch_norm("bn1", b.conv("conv1", x, 4, 3, {.pad = 1})));
  x = b.relu(b.batch_norm("bn2", b.conv("conv2", x, 4, 3, {.pad = 1})));
  b.set_scope("");
  b.end_block(x);
  b.classification_loss(b.linear("fc", b.global_avg_pool(x), 5, {.logits = true}), 0);
  return b.take();
}

int count_nodes(const Graph& graph, std::string_view op, std::optional<Phase> phase = {}) {
  return static_cast<int>(std::count_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    return op_name(node.op) == op && (!phase || node.phase == *phase);
  }));
}

TEST(Graph, ShapeErrorsNameNodeOperationAndShapes) {
  Graph graph;
  const ValueId x = graph.add_persistent("x", {DType::kF32, {2, 8, 8, 3}}, ValueKind::kInput);
  const ValueId w = graph.add_persistent("w", {DType::kF32, {4, 3, 3, 5}}, ValueKind::kParameter);
  EXPECT_THAT(message_of([&] {
                graph.add_node("stem", Conv{4, 3, 3, 1, 1, 1}, {x, w});
              }),
              AllOf(HasSubstr("stem"), HasSubstr("conv"), HasSubstr("f32[4, 3, 3, 3]"),
                    HasSubstr("f32[4, 3, 3, 5]")));
  EXPECT_THAT(message_of([&] {
                graph.add_node("big", MaxPool{9, 1, 0}, {x});
              }),
              AllOf(HasSubstr("big"), HasSubstr("max_pool"), HasSubstr("9x9"), HasSubstr("[2, 8, 8, 3]")));
  EXPECT_THAT(message_of([&] {
                graph.add_node("sum", Add{}, {x, w});
              }),
              AllOf(HasSubstr("sum"), HasSubstr("add"), HasSubstr("one type and shape")));
  EXPECT_TRUE(graph.nodes.empty()) << "a refused node must leave the graph as it was";
}

TEST(Graph, ValidateFindsABrokenOrder) {
  Graph graph = small_net();
  std::swap(graph.nodes[1], graph.nodes[2]);
  EXPECT_THAT(message_of([&] { graph.validate("shuffle"); }),
              AllOf(HasSubstr("shuffle"), HasSubstr("before it is produced")));
}

TEST(Graph, ValidateFindsAWrongShape) {
  Graph graph = small_net();
  graph.values[static_cast<size_t>(graph.nodes[1].outputs[0])].desc.shape = {1, 1, 1, 1};
  EXPECT_THAT(message_of([&] { graph.validate("resize"); }), HasSubstr("resize"));
}

TEST(Autodiff, EveryParameterHasAGradientOfItsShape) {
  for (const char* name : {"cifar_resnet20", "resnet18", "resnet50", "cifar_preresnet20"}) {
    const Graph graph = differentiate(build_model(name, {}));
    graph.validate("autodiff");
    for (size_t id = 0; id < graph.values.size(); ++id) {
      if (graph.values[id].kind != ValueKind::kParameter) continue;
      const auto found = graph.gradients.find(static_cast<ValueId>(id));
      ASSERT_NE(found, graph.gradients.end()) << name << " " << graph.values[id].name;
      EXPECT_EQ(graph.desc(found->second), graph.values[id].desc) << name << " " << graph.values[id].name;
    }
  }
}

TEST(Autodiff, ImagesGetAGradientOnlyWhenWanted) {
  Graph forward = small_net();
  const ValueId images = forward.node(0).outputs[0];
  EXPECT_EQ(count_nodes(differentiate(forward), "conv_backward_data"), 1);
  const Graph wanted = differentiate(forward, {images});
  EXPECT_EQ(count_nodes(wanted, "conv_backward_data"), 2);
  EXPECT_EQ(wanted.desc(wanted.gradients.at(images)), wanted.desc(images));
}

TEST(Passes, UpdateAddsOptimizerStateAndCommitsEveryBatchNormOnce) {
  UpdateOptions options;
  options.ema_decay = 0.99f;
  options.decay_norm_and_bias = false;
  options.weight_decay = 0.1f;
  const Graph graph = append_update(differentiate(small_net()), options);
  EXPECT_TRUE(graph.find("momentum.block.conv1.weight"));
  EXPECT_TRUE(graph.find("ema.fc.bias"));
  EXPECT_TRUE(graph.find("ema.block.bn1.running_var"));
  EXPECT_EQ(count_nodes(graph, "batch_norm_commit"), 1);
  const auto node = std::find_if(graph.nodes.begin(), graph.nodes.end(),
                                 [](const Node& n) { return std::holds_alternative<SgdUpdate>(n.op); });
  ASSERT_NE(node, graph.nodes.end());
  const auto& decay = std::get<SgdUpdate>(node->op).weight_decay;
  for (size_t i = 0; i < decay.size(); ++i) {
    const bool matrix = graph.desc(node->inputs[1 + i]).shape.rank() > 1;
    EXPECT_EQ(decay[i], matrix ? 0.1f : 0.0f) << graph.value(node->inputs[1 + i]).name;
  }
}

TEST(Passes, RecomputeRepeatsConvolutionsButNeverStatistics) {
  const Graph plain = differentiate(small_net());
  Graph graph = recompute_blocks(plain);
  graph.validate("recompute");
  EXPECT_EQ(count_nodes(graph, "batch_norm_stats"), count_nodes(plain, "batch_norm_stats"));
  EXPECT_GE(count_nodes(graph, "conv", Phase::kRecompute), 1);
  const ValueId output = graph.blocks.at(0).output;
  EXPECT_EQ(graph.node(graph.value(output).producer).phase, Phase::kForward) << "the block's output is kept";
}

TEST(Passes, RematerializeRepeatsOnlyCheapNodes) {
  Graph graph = rematerialize(differentiate(small_net()));
  graph.validate("rematerialize");
  EXPECT_GT(count_nodes(graph, "batch_norm_apply", Phase::kRecompute), 0);
  for (const Node& node : graph.nodes) {
    if (node.phase == Phase::kRecompute) {
      EXPECT_TRUE(is_cheap(node.op)) << op_name(node.op);
    }
  }
}

TEST(Passes, PruneDropsWhatNobodyReads) {
  Graph graph = small_net();
  const ValueId logits = graph.output("logits");
  graph.add_node("unused", Scale{2, 0}, {logits});
  const size_t before = graph.nodes.size();
  graph = prune(std::move(graph));
  graph.validate("prune");
  EXPECT_EQ(graph.nodes.size(), before - 1);
}

TEST(Passes, CanBeSwitchedOffByNameAndRefuseUnknownNames) {
  const std::vector<Pass> passes = training_passes({{}, true});
  const Graph all = run_passes(small_net(), passes);
  const Graph without = run_passes(small_net(), passes, {"recompute", "rematerialize"});
  EXPECT_GT(all.nodes.size(), without.nodes.size());
  EXPECT_THAT(message_of([&] { run_passes(small_net(), passes, {"no_such_pass"}); }),
              AllOf(HasSubstr("no_such_pass"), HasSubstr("rematerialize")));
}

TEST(Cost, ConvolutionMacsAreTheSameInEveryDirection) {
  const Graph graph = differentiate(build_model("cifar_resnet20", {}));
  int64_t forward = 0, data = 0, filter = 0;
  for (const Node& node : graph.nodes) {
    if (op_name(node.op) == "conv") forward += node_macs(graph, node);
    if (op_name(node.op) == "conv_backward_data") data += node_macs(graph, node);
    if (op_name(node.op) == "conv_backward_filter") filter += node_macs(graph, node);
  }
  EXPECT_EQ(forward, filter);
  EXPECT_EQ(forward, data + 16 * 32 * 32 * 27) << "the stem needs no image gradient";
}

TEST(Cost, AGroupDoesNotCountItsInternalValues) {
  const Graph graph = small_net();
  // conv1 -> batch_norm_stats: the convolution's result leaves the group, the pair reads it once at most
  const Group pair{{1, 2}, {}};
  const Group closed{{1, 2}, {graph.node(1).outputs[0]}};
  const Cost open_cost = group_cost(graph, pair), closed_cost = group_cost(graph, closed);
  const auto bytes = static_cast<int64_t>(graph.desc(graph.node(1).outputs[0]).bytes());
  EXPECT_EQ(open_cost.bytes_written - closed_cost.bytes_written, bytes);
  EXPECT_EQ(open_cost.bytes_read, closed_cost.bytes_read);
  const Cost apart = [&] {
    Cost sum = node_cost(graph, graph.node(1));
    return sum += node_cost(graph, graph.node(2));
  }();
  EXPECT_EQ(apart.bytes_read - open_cost.bytes_read, bytes);
  EXPECT_EQ(apart.flops, open_cost.flops);
}

}  // namespace
}  // namespace residuum
