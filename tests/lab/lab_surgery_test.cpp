// Surgery on graphs against what it must not change: blocks that do nothing can go, bit for bit; exchanged
// blocks compute what exchanged weights would.
#include "engine/lab/surgery.h"

#include <gtest/gtest.h>

#include "engine/core/check.h"
#include "engine/lab/lesion.h"
#include "models/zoo.h"
#include "tests/support/lab_net.h"

namespace residuum {
namespace {

TEST(LabSurgery, ABlockWhoseBranchIsZeroCanBeDeleted) {
  for (const char* block : {"layer1.1", "layer2.0", "layer3.1"}) {  // layer2.0 samples down
    LabNet net("cifar_resnet14");
    const int index = block_index(net.graph(), block);
    const std::vector<float> before = net.logits(net.graph());
    EXPECT_NE(net.logits(delete_block(net.graph(), index)), before) << block << " does something at first";
    net.fill(std::string(block) + ".bn2.weight", 0);
    EXPECT_EQ(net.logits(delete_block(net.graph(), index)), net.logits(net.graph())) << block;
  }
}

TEST(LabSurgery, DeletedBlocksLeaveNoNodes) {
  LabNet net("cifar_resnet14");
  const Graph graph = net.graph(), without = delete_block(delete_block(graph, 0), 1);
  for (const Node& node : without.nodes) EXPECT_FALSE(node.name.starts_with("layer1.")) << node.name;
  EXPECT_EQ(without.nodes.size() + 14, graph.nodes.size())
      << "conv, BN, ReLU, conv, BN, Add and ReLU of two blocks";
}

TEST(LabSurgery, ADownSamplingBlockOfAPlainNetCannotBeDeleted) {
  LabNet net("cifar_plain14");
  EXPECT_TRUE(can_delete(net.graph(), 0));
  EXPECT_FALSE(can_delete(net.graph(), 2));
  try {
    delete_block(net.graph(), 2);
    FAIL() << "deleted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_NE(std::string(error.what()).find("layer2.0"), std::string::npos) << error.what();
  }
}

TEST(LabSurgery, AnIdentityLayerOfAPlainNetCanBeDeleted) {
  LabNet net("cifar_plain14");
  std::vector<float> delta(net.values("layer1.1.conv1.weight").size());
  for (size_t k = 0; k < 16; ++k) delta[(k * 9 + 4) * 16 + k] = 1;  // the middle tap of a 3x3
  net.set("layer1.1.conv1.weight", delta);
  const std::vector<Layer> layers = find_layers(net.graph());
  const auto layer =
      std::find_if(layers.begin(), layers.end(), [](const Layer& l) { return l.name == "layer1.1.conv1"; });
  ASSERT_NE(layer, layers.end());
  const std::vector<float> whole = net.logits(net.graph()),
                           without = net.logits(delete_layer(net.graph(), *layer));
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_NEAR(without[i], whole[i], 1e-4f) << "batch norm divides by sqrt(1 + 1e-5)";
  }
  EXPECT_NE(without, whole);
  EXPECT_THROW(delete_layer(net.graph(), layers[0]), Error) << "the stem changes the shape";
}

TEST(LabSurgery, ExchangedBlocksComputeWithEachOthersWeights) {
  LabNet net("cifar_resnet20");
  const Graph graph = net.graph();
  const int a = block_index(graph, "layer1.1"), b = block_index(graph, "layer1.2");
  const std::vector<float> once = net.logits(swap_blocks(graph, a, b));
  const std::vector<float> twice = net.logits(swap_blocks(swap_blocks(graph, a, b), a, b));
  EXPECT_EQ(twice, net.logits(graph));
  EXPECT_NE(once, twice);
  for (const State::Entry& entry : std::vector<State::Entry>(net.state().entries())) {
    if (!entry.name.starts_with("layer1.1.")) continue;
    const std::string other = "layer1.2." + entry.name.substr(9);
    const std::vector<float> mine = net.values(entry.name), theirs = net.values(other);
    net.set(entry.name, theirs);
    net.set(other, mine);
  }
  EXPECT_EQ(net.logits(net.graph()), once);
}

TEST(LabSurgery, OnlyEqualBlocksAreExchanged) {
  LabNet net("cifar_resnet14");
  const Graph graph = net.graph();
  EXPECT_TRUE(equal_blocks(graph, 0, 1));
  EXPECT_FALSE(equal_blocks(graph, 2, 3)) << "one samples down";
  EXPECT_THROW(swap_blocks(graph, 1, 3), Error) << "16 and 32 channels";
}

/// Two highway layers hw1 and hw2, the second with a carry gate of its own when `own_carry`.
ValueId highway_blocks(GraphBuilder& builder, ValueId x, bool own_carry) {
  for (const std::string name : {"hw1", "hw2"}) {
    builder.begin_block(name, x);
    const std::string outer = builder.set_scope(name + ".");
    const ValueId h = builder.relu(builder.conv("h", x, 8, 3, {.pad = 1}));
    const auto gate = [&](const char* weight, const std::string& node) {
      const ValueId z = builder.conv(weight, x, 8, 3, {.pad = 1});
      return builder.graph().add_node(node, Activation{ActivationKind::kSigmoid}, {z}, Phase::kForward,
                                      static_cast<int>(builder.graph().blocks.size()) - 1)[0];
    };
    const ValueId t = gate("t", name + ".transform");
    const ValueId c = own_carry && name == "hw2" ? gate("c", name + ".carry") : builder.scale(t, -1, 1);
    x = builder.add(builder.multiply(h, t), builder.multiply(x, c));
    builder.set_scope(outer);
    builder.end_block(x);
  }
  return x;
}

TEST(LabSurgery, AGateForcedShutCopiesItsInput) {
  for (const bool own_carry : {false, true}) {
    LabNet net("highway",
               net_of_blocks(8, [=](GraphBuilder& b, ValueId x) { return highway_blocks(b, x, own_carry); }));
    const Graph graph = net.graph();
    EXPECT_EQ(natural_lesion(graph), LesionKind::kGates);
    const std::vector<float> shut = net.logits(close_gates(graph, 1));
    EXPECT_EQ(shut, net.logits(delete_block(graph, 1)));
    EXPECT_NE(shut, net.logits(graph));
    EXPECT_EQ(net.logits(close_gates(close_gates(graph, 0), 1)),
              net.logits(delete_block(delete_block(graph, 0), 1)));
  }
  EXPECT_THROW(close_gates(LabNet("cifar_resnet8").graph(), 0), Error);
}

TEST(LabSurgery, GatesOfTheZooAreFound) {
  for (const char* model : {"mnist_highway6_8", "cifar_highway11", "cifar_highway19"}) {
    const Graph graph = build_model(model, {});
    const size_t gated =
        static_cast<size_t>(std::count_if(graph.nodes.begin(), graph.nodes.end(), [](const Node& n) {
          return n.name.ends_with(".transform") && std::holds_alternative<Activation>(n.op);
        }));
    EXPECT_GE(gated, 5u) << model;
    EXPECT_EQ(lesion_targets(graph, LesionKind::kGates, model).size(), gated) << model;
    EXPECT_EQ(natural_lesion(graph), LesionKind::kGates) << model;
  }
  EXPECT_EQ(natural_lesion(build_model("cifar_densenet40_12", {})), LesionKind::kBlocks);
  EXPECT_THROW(lesion_targets(build_model("cifar_resnet8", {}), LesionKind::kGates, "cifar_resnet8"), Error);
}

TEST(LabSurgery, ADenselyConnectedBlockLosesItsNewChannels) {
  LabNet net("dense", net_of_blocks(8, [](GraphBuilder& b, ValueId x) {
               for (const std::string name : {"dense1", "dense2"}) {
                 b.begin_block(name, x);
                 x = b.concat({x, b.relu(b.conv(name, x, 4, 3, {.pad = 1}))});
                 b.end_block(x);
               }
               return x;
             }));
  const std::vector<float> without = net.logits(delete_block(net.graph(), 0));
  EXPECT_NE(without, net.logits(net.graph()));
  net.fill("dense1.weight", 0);
  EXPECT_EQ(without, net.logits(net.graph()));
}

TEST(LabSurgery, TheSkipIsTheWayWithFewerLayers) {
  for (const char* model : {"cifar_resnet14", "cifar_preresnet14", "resnet50"}) {
    const bool bottleneck = model == std::string("resnet50");
    const Graph graph = build_model(model, {});
    const std::vector<Join> joins = find_joins(graph);
    EXPECT_EQ(joins.size(), graph.blocks.size()) << model;
    for (const Join& join : joins) {
      const bool projects = bottleneck && graph.blocks[static_cast<size_t>(join.block)].name.ends_with(".0");
      EXPECT_EQ(join.branch_layers, bottleneck ? 3 : 2) << model;
      EXPECT_EQ(join.skip_layers, projects ? 1 : 0) << model;
    }
  }
  EXPECT_TRUE(find_joins(build_model("cifar_plain14", {})).empty());
}

TEST(LabLesion, CountsWhatAnEvaluationWouldCount) {
  LabNet net("cifar_resnet14");
  net.fill("layer1.1.bn2.weight", 0);
  LesionOptions options;
  options.counts = {0, 6};
  options.draws = 2;
  const LesionReport report = lesion(net.subject(), LesionKind::kBlocks, options);
  ASSERT_EQ(report.singles.size(), 6u);
  EXPECT_EQ(report.whole.samples, 48);
  EXPECT_EQ(report.singles[1].name, "layer1.1");
  EXPECT_EQ(report.singles[1].without.loss, report.whole.loss);
  EXPECT_TRUE(report.singles[2].down_sampling);
  EXPECT_NE(report.singles[2].without.loss, report.whole.loss);
  EXPECT_EQ(report.several[0].draws[0].loss, report.whole.loss) << "nothing deleted";
  EXPECT_EQ(report.several[1].draws[0].loss, report.several[1].draws[1].loss)
      << "there is one way to delete all";
  options.counts = {7};
  EXPECT_THROW(lesion(net.subject(), LesionKind::kBlocks, options), Error);
  EXPECT_THROW(lesion(net.subject(), LesionKind::kGates, {}), Error);
}

TEST(LabLesion, PlainNetsLoseLayers) {
  const Graph graph = LabNet("cifar_plain14").graph();
  EXPECT_EQ(natural_lesion(graph), LesionKind::kLayers);
  EXPECT_EQ(natural_lesion(LabNet("cifar_resnet8").graph()), LesionKind::kBlocks);
  EXPECT_EQ(lesion_targets(graph, LesionKind::kLayers, "plain").size(), 10u)
      << "12 but the two that sample down";
}

TEST(LabLesion, OnlyWhatMakesImagesSmallerSamplesDown) {
  // Wide and dense blocks add channels, which changes shapes as well.
  for (const auto& [model, expected] :
       {std::pair<const char*, std::vector<bool>>{"cifar_wrn10_2", {false, true, true}},
        {"cifar_densenet7_4", {false, false, false}},
        {"cifar_resnet11", {false, true, true}}}) {
    std::vector<bool> found;
    for (const LesionTarget& target : lesion_targets(build_model(model, {}), LesionKind::kBlocks, model)) {
      found.push_back(target.down_sampling);
    }
    EXPECT_EQ(found, expected) << model;
  }
}

TEST(LabLesion, ShufflesAreOrders) {
  LabNet net("cifar_resnet20");
  const ShuffleReport report =
      shuffle_blocks(net.subject(), {.swaps = {1, 3}, .draws = 2, .seed = 1, .progress = {}});
  ASSERT_EQ(report.points.size(), 4u);
  for (const ShuffleReport::Point& point : report.points) {
    EXPECT_LT(point.kendall_tau, 1);
    EXPECT_EQ(point.order[3], "layer2.0") << "a block without an equal stays";
    EXPECT_EQ(point.order[6], "layer3.0");
  }
  EXPECT_THROW(shuffle_blocks(LabNet("cifar_resnet8").subject(), {}), Error);
}

}  // namespace
}  // namespace residuum
