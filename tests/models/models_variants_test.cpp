// The nets of the laboratory against their papers: parameters to the last one, and what must hold exactly:
// dead branches leave identities, factors on shortcuts multiply, shut gates copy, half open ones halve,
// closed blocks add nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "engine/core/check.h"
#include "engine/graph/autodiff.h"
#include "models/published.h"
#include "models/recipe_model.h"
#include "models/summary.h"
#include "models/zoo.h"
#include "tests/support/graph_run.h"
#include "tests/support/random_tensor.h"
#include "tests/support/test_device.h"

namespace residuum {
namespace {

using reference::Tensor;

ImageShape square(int64_t size, size_t channels) {
  return {static_cast<int>(size), static_cast<int>(size), static_cast<int>(channels)};
}

/// The model as a recipe with `overrides` asks for it, for images of 16 x 16 x 3.
Graph variant(const std::string& name, std::vector<std::string> overrides = {}, Mode mode = Mode::kTrain,
              int64_t size = 16) {
  overrides.push_back("model.name=" + name);
  overrides.emplace_back("train.steps=1");
  const Recipe recipe = parse_recipe("", "test", overrides);
  return build_model(name, model_options(recipe, {mode, 4, square(size, 3), 10}));
}

// ---- sizes ----

struct Size {
  std::string name;
  int64_t parameters;
  std::vector<std::string> overrides = {};
};

int64_t parameters(const Size& size) {
  std::vector<std::string> overrides = size.overrides;
  overrides.push_back("model.name=" + size.name);
  overrides.emplace_back("train.steps=1");
  const Recipe recipe = parse_recipe("", "test", overrides);
  const ModelDefaults data = model_defaults(size.name);
  const ImageShape image = square(data.image_size, data.mean.size());
  const Graph graph = build_model(size.name, model_options(recipe, {Mode::kTrain, 1, image, data.classes}));
  return summarize(graph, size.name).parameters;
}

TEST(Variants, ParametersAreThoseOfThePapers) {
  const std::vector<Size> sizes = {
      {"cifar_wrn28_10", 36'479'194},
      {"cifar_wrn40_4", 8'949'210},
      {"cifar_wrn16_4", 2'748'890},
      {"cifar_densenet_bc100_12", 769'162},
      {"cifar_densenet_bc190_40", 25'624'430},
      {"cifar_densenet40_12", 1'019'722},
      {"cifar_highway19", 2'256'838},
      {"mnist_highway_conv10", 151'690},
      // Layer by layer: conv 3 -> a, n highway layers of 2 (9 a^2 + a), ..., 1x1 to 100, 10 classes.
      {"cifar_highway11", 448 + 2 * 4640 + 4640 + 2 * 18496 + 18496 + 2 * 73856 + 6500 + 1010},
      {"cifar_highway32", 896 + 9 * 18496 + 13872 + 9 * 41568 + 27712 + 9 * 73856 + 6500 + 1010},
      {"mnist_highway10_50", 785 * 50 + 9 * 2 * (50 * 50 + 50) + 510},
      {"mnist_highway10_50", 785 * 50 + 9 * 3 * (50 * 50 + 50) + 510, {"model.carry=own"}},
      {"mnist_plain10_71", 785 * 71 + 9 * (71 * 71 + 71) + 720},
  };
  for (const Size& size : sizes) EXPECT_EQ(parameters(size), size.parameters) << size.name;
}

TEST(Variants, PlacementsAndFactorsAddNoParametersAndGatesAddTheirOwn) {
  constexpr int64_t kResNet110 = 1'727'962;
  for (const char* placement :
       {"original", "bn_after_addition", "relu_before_addition", "relu_preactivation", "preactivation"}) {
    EXPECT_EQ(parameters({"cifar_resnet110", kResNet110, {std::string("model.placement=") + placement}}),
              kResNet110)
        << placement;
  }
  EXPECT_EQ(parameters({"cifar_resnet110",
                        0,
                        {"model.shortcut_scale=0.5", "model.branch_scale=0.5", "model.shortcut_dropout=0.5",
                         "model.survival=0.5"}}),
            kResNet110);
  // A 1x1 convolution with bias a block: 18 stages' blocks, of which the first of two stages widens.
  const int64_t gates =
      18 * (16 * 16 + 16) + (16 * 32 + 32) + 17 * (32 * 32 + 32) + (32 * 64 + 64) + 17 * (64 * 64 + 64);
  EXPECT_EQ(parameters({"cifar_resnet110", 0, {"model.gate=exclusive"}}), kResNet110 + gates);
  EXPECT_EQ(parameters({"cifar_resnet110", 0, {"model.gate=shortcut_only"}}), kResNet110 + gates);
}

TEST(Variants, WithoutBatchNormEveryConvolutionHasABias) {
  // A BN has two parameters a channel, a bias one.
  const int64_t channels = 16 + 6 * 16 + 6 * 32 + 6 * 64;
  EXPECT_EQ(parameters({"cifar_plain20", 0, {"model.batch_norm=false"}}), 269'722 - channels);
}

TEST(Variants, PublishedErrorsAreThoseOfThePapers) {
  const auto percent = [](const std::string& model) {
    const auto found = published_error(model);
    return found ? found->percent : -1;
  };
  EXPECT_EQ(percent("cifar_resnet110"), 6.43);
  EXPECT_EQ(percent("cifar_preresnet1001"), 4.92);
  EXPECT_NEAR(percent("cifar_highway19"), 100 - 92.46, 1e-9);
  EXPECT_NEAR(percent("cifar_highway32"), 100 - 91.20, 1e-9);
  EXPECT_EQ(percent("cifar_densenet_bc190_40"), 3.46);
  EXPECT_EQ(percent("resnet34"), 24.52) << "option B, the default";
  EXPECT_EQ(percent("cifar_plain20"), -1) << "the paper shows curves only";
  EXPECT_EQ(percent("cifar_resnet26"), -1);
}

// ---- values ----

/// A graph with its initial values, run once on the CPU.
class NetRun {
 public:
  /// `constants`: the value of every element of a parameter whose name has that ending.
  explicit NetRun(Graph graph, const std::map<std::string, double>& constants = {}, uint64_t step = 0)
      : graph_(std::move(graph)), run_(graph_, cpu_backend(2), Grouping::kSeparate) {
    for (size_t i = 0; i < graph_.values.size(); ++i) {
      const auto id = static_cast<ValueId>(i);
      if (graph_.value(id).persistent()) run_.write(id, start(id, constants));
    }
    run_.run({.seed = 3, .step = step});
  }
  const Graph& graph() const { return graph_; }
  Tensor read(ValueId id) const { return run_.read(id); }
  Tensor read(const std::string& node) const { return read(find(node).outputs.at(0)); }
  const Node& find(const std::string& name) const {
    for (const Node& node : graph_.nodes) {
      if (node.name == name) return node;
    }
    fail(ErrorKind::kInternal, "no node {}", name);
  }

 private:
  Tensor start(ValueId id, const std::map<std::string, double>& constants) const {
    const Value& value = graph_.value(id);
    const Shape& shape = value.desc.shape;
    const auto seed = static_cast<uint64_t>(id);
    if (value.name == "images") return integer_tensor(shape, seed, 256);
    if (value.name == "labels") return integer_tensor(shape, seed, 10);
    const Init& init = graph_.inits.at(id);
    for (const auto& [ending, constant] : constants) {
      if (value.name.ends_with(ending)) return Tensor(shape, filled(shape, constant));
    }
    if (init.kind == Init::Kind::kConstant) return Tensor(shape, filled(shape, init.value));
    return rounded_to(DType::kF32, uniform_tensor(shape, seed, -init.value, init.value));
  }
  static std::vector<double> filled(const Shape& shape, double value) {
    return std::vector<double>(static_cast<size_t>(shape.elements()), value);
  }

  Graph graph_;
  GraphRun run_;
};

bool any(const Tensor& tensor) {
  return std::any_of(tensor.data.begin(), tensor.data.end(), [](double x) { return x != 0; });
}

void expect_identities(const std::string& placement, const std::string& precision) {
  SCOPED_TRACE(placement + " " + precision);
  const NetRun run(variant("cifar_resnet14", {"model.placement=" + placement, "train.precision=" + precision,
                                              "model.zero_init_gamma=true"}));
  const std::vector<Block>& blocks = run.graph().blocks;
  ASSERT_EQ(blocks.size(), 6u);
  for (const Block& block : {blocks[0], blocks[1], blocks[3], blocks[5]}) {
    EXPECT_TRUE(any(run.read(block.input)));
    EXPECT_EQ(run.read(block.output).data, run.read(block.input).data) << block.name;
  }
  EXPECT_EQ(run.read(blocks[2].output).data, run.read("layer2.0.shortcut_a").data);
}

TEST(Variants, BlocksWithZeroGammaAreIdentities) {
  for (const char* precision : {"fp32", "bf16"}) {
    expect_identities("original", precision);
    expect_identities("relu_preactivation", precision);
  }
}

TEST(Variants, HalfAShortcutHalvesAtEveryBlockForwardAndBackward) {
  Graph graph = variant("cifar_resnet20", {"model.shortcut_scale=0.5", "model.zero_init_gamma=true"});
  const std::vector<Block> blocks = graph.blocks;
  ASSERT_EQ(blocks.size(), 9u);
  graph = differentiate(std::move(graph), {blocks[0].input, blocks[2].output});
  const NetRun run(std::move(graph));
  const Tensor stem = run.read(blocks[0].input), third = run.read(blocks[2].output),
               last = run.read(blocks[8].output);
  for (int64_t i = 0; i < stem.elements(); ++i) ASSERT_EQ(third[i], std::ldexp(stem[i], -3));
  // Option A puts channel c of 16 at c + 8 of 32 and that at c + 24 of 64, and keeps pixel 0, 0.
  for (int64_t c = 0; c < 16; ++c) EXPECT_EQ(last.at(1, 0, 0, c + 24), std::ldexp(stem.at(1, 0, 0, c), -9));
  const Tensor d_stem = run.read(run.graph().gradients.at(blocks[0].input)),
               d_third = run.read(run.graph().gradients.at(blocks[2].output));
  EXPECT_TRUE(any(d_third));
  for (int64_t i = 0; i < stem.elements(); ++i) {
    if (stem[i] > 0) {
      ASSERT_EQ(d_stem[i], std::ldexp(d_third[i], -3));
    }
  }
}

/// Gates at exactly 0 and 1, which no finite score of a sigmoid promises.
Graph with_shut_gates(Graph graph) {
  for (Node& node : graph.nodes) {
    if (node.name.ends_with(".transform")) node.op = Scale{0, 0};
    if (node.name.ends_with(".carry")) node.op = Scale{0, 1};
  }
  return graph;
}

TEST(Variants, AShutGateCopiesItsInput) {
  const std::vector<Size> nets = {{"mnist_highway4_16", 0},
                                  {"mnist_highway4_16", 0, {"model.carry=own"}},
                                  {"cifar_highway11", 0},
                                  {"cifar_resnet8", 0, {"model.gate=exclusive"}}};
  for (const Size& net : nets) {
    const NetRun run(with_shut_gates(variant(net.name, net.overrides)));
    int copies = 0;
    for (const Block& block : run.graph().blocks) {
      EXPECT_FALSE(any(run.read(block.name + ".transform"))) << net.name;
      if (run.graph().desc(block.input) != run.graph().desc(block.output)) continue;  // it widens
      EXPECT_TRUE(any(run.read(block.input)));
      EXPECT_EQ(run.read(block.output).data, run.read(block.input).data) << net.name << " " << block.name;
      ++copies;
    }
    EXPECT_GE(copies, 1);
  }
}

TEST(Variants, AHalfOpenHighwayLayerIsHalfTheResidualSum) {
  for (const char* name : {"mnist_highway3_16", "cifar_highway11"}) {
    const NetRun run(variant(name), {{".t.weight", 0}, {".t.bias", 0}});
    for (const Block& block : run.graph().blocks) {
      const Tensor x = run.read(block.input), h = run.read(block.name + ".relu"), y = run.read(block.output);
      for (int64_t i = 0; i < x.elements(); ++i) {
        const float sum = static_cast<float>(x[i]) + static_cast<float>(h[i]);
        ASSERT_EQ(y[i], static_cast<double>(0.5f * sum)) << name << " " << block.name;
      }
    }
  }
}

TEST(Variants, AnUntouchedGateCarriesWhatItsBiasSays) {
  // With W_T = 0 the carry of L layers is (1 - sigmoid(b))^L; for b = -3 that is .615 of 10 and .088 of 50.
  for (const auto& [layers, expected] : {std::pair(10u, 0.615), std::pair(50u, 0.088)}) {
    const NetRun run(variant(fmt::format("mnist_highway{}_16", layers + 1), {"model.gate_bias=[-3]"}),
                     {{".t.weight", 0}});
    double carry = 1;
    for (const Block& block : run.graph().blocks) carry *= run.read(block.name + ".carry")[0];
    ASSERT_EQ(run.graph().blocks.size(), layers);
    EXPECT_NEAR(carry, expected, 0.0005);
  }
}

TEST(Variants, AnExclusiveGateWeighsShortcutAndBranch) {
  const NetRun run(variant("cifar_resnet8", {"model.gate=exclusive", "model.gate_bias=[0.5]",
                                             "model.shortcut_scale=2", "model.branch_scale=4"}));
  const Block& block = run.graph().blocks[0];
  const Tensor x = run.read(block.input), g = run.read("layer1.0.transform"), y = run.read(block.output);
  const Node& last_norm =
      *std::find_if(run.graph().nodes.begin(), run.graph().nodes.end(), [](const Node& node) {
        return node.name == "layer1.0.bn2" && std::holds_alternative<BatchNormApply>(node.op);
      });
  const Tensor branch = run.read(last_norm.outputs[0]);
  double largest = 0;
  for (int64_t i = 0; i < x.elements(); ++i) {
    const double expected = std::max(0.0, 2 * (1 - g[i]) * x[i] + 4 * g[i] * branch[i]);
    largest = std::max(largest, std::abs(y[i] - expected) / (1 + std::abs(expected)));
  }
  EXPECT_LT(largest, 1e-6) << "a few f32 roundings";
}

// ---- blocks that take part ----

TEST(Variants, StochasticDepthFallsLinearlyAndScalesTheEvaluation) {
  const Graph train = variant("cifar_resnet20", {"model.survival=0.5"}),
              eval = variant("cifar_resnet20", {"model.survival=0.5"}, Mode::kEval);
  const auto scale_of = [&](const std::string& block) -> float {
    for (const Node& node : eval.nodes) {
      if (node.name == block + ".block_gate") return std::get<Scale>(node.op).factor;
    }
    return 0;
  };
  int64_t l = 0;
  for (const Node& node : train.nodes) {
    const auto* gate = std::get_if<BlockGate>(&node.op);
    if (gate == nullptr) continue;
    ++l;
    const double survival = 1 - static_cast<double>(l) / 9 * 0.5;
    EXPECT_NEAR(static_cast<double>(gate->draw.probability), survival, 1e-7);
    EXPECT_EQ(scale_of(train.blocks.at(static_cast<size_t>(l - 1)).name), gate->draw.probability);
  }
  EXPECT_EQ(l, 9);
}

TEST(Variants, SampledBlocksOpenExactlySoManyInEveryStep) {
  std::set<std::vector<bool>> choices;
  for (uint64_t step = 0; step < 5; ++step) {
    const NetRun run(variant("cifar_resnet20", {"model.sampled_blocks=4"}), {}, step);
    std::vector<bool> open;
    for (const Block& block : run.graph().blocks) open.push_back(any(run.read(block.name + ".block_gate")));
    EXPECT_EQ(std::count(open.begin(), open.end(), true), 4) << "step " << step;
    choices.insert(open);
    for (size_t i = 0; i < open.size(); ++i) {
      const Block& block = run.graph().blocks[i];
      if (open[i] || run.graph().desc(block.input) != run.graph().desc(block.output)) continue;
      EXPECT_EQ(run.read(block.output).data, run.read(block.input).data) << "a closed block adds nothing";
    }
  }
  EXPECT_GT(choices.size(), 1u);
  const Graph eval = variant("cifar_resnet20", {"model.sampled_blocks=4"}, Mode::kEval);
  for (const Node& node : eval.nodes) {
    if (node.name.ends_with(".block_gate")) {
      EXPECT_EQ(std::get<Scale>(node.op).factor, 4.0f / 9);
    }
  }
}

// ---- structure ----

TEST(Variants, PlacementsAreThoseOfTable2) {
  const auto operations = [](const std::string& placement) {
    const Graph graph = variant("cifar_resnet14", {"model.placement=" + placement});
    std::string text;
    for (const Node& node : graph.nodes) {
      if (!node.name.starts_with("layer1.1.") || std::holds_alternative<BatchNormStats>(node.op)) continue;
      text += (text.empty() ? "" : " ") + std::string(op_name(node.op));
    }
    return text;
  };
  const std::string bn = "batch_norm_apply";
  EXPECT_EQ(operations("original"), "conv " + bn + " relu conv " + bn + " add relu");
  EXPECT_EQ(operations("bn_after_addition"), "conv " + bn + " relu conv add " + bn + " relu");
  EXPECT_EQ(operations("relu_before_addition"), "conv " + bn + " relu conv " + bn + " relu add");
  EXPECT_EQ(operations("relu_preactivation"), "relu conv " + bn + " relu conv " + bn + " add");
  EXPECT_EQ(operations("preactivation"), bn + " relu conv " + bn + " relu conv add");
}

TEST(Variants, ConcatReluDoublesHalfAsManyFiltersAndKeepsTheNorm) {
  const NetRun run(variant("cifar_plain14", {"model.activation=crelu"}));
  const Tensor negated = run.read("layer1.0.scale"), both = run.read("layer1.0.concat");
  EXPECT_EQ(negated.channels(), 8);
  EXPECT_EQ(both.channels(), 16);
  double before = 0, after = 0;
  for (const double x : negated.data) before += x * x;
  for (const double x : both.data) after += x * x;
  EXPECT_DOUBLE_EQ(after, before);
}

TEST(Variants, HighwayStagesWidenByZeroChannelsOrLayers) {
  const Graph layers = variant("cifar_highway19"), zeros = variant("cifar_highway19", {"model.shortcut=A"});
  EXPECT_TRUE(layers.find("conv2.weight"));
  EXPECT_FALSE(zeros.find("conv2.weight"));
  EXPECT_EQ(layers.blocks.size(), 14u);
  EXPECT_EQ(zeros.desc(zeros.blocks.back().output).shape, (Shape{4, 4, 4, 128}));
  EXPECT_EQ(layers.desc(layers.blocks.back().output).shape, (Shape{4, 4, 4, 128}));
}

TEST(Variants, DenseLayersReadEverythingBeforeThem) {
  const Graph graph = variant("cifar_densenet_bc22_4");
  ASSERT_EQ(graph.blocks.size(), 9u);
  int64_t channels = 8;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(graph.desc(graph.blocks[i].input).shape[3], channels);
    channels += 4;
    EXPECT_EQ(graph.desc(graph.blocks[i].output).shape[3], channels);
  }
  EXPECT_EQ(graph.desc(graph.blocks[3].input).shape, (Shape{4, 8, 8, 10})) << "half of 20 channels, pooled";
}

TEST(Variants, InitScaleMultipliesRandomWeightsAlone) {
  const Graph one = variant("cifar_resnet8"), three = variant("cifar_resnet8", {"model.init_scale=3"});
  for (const auto& [id, init] : one.inits) {
    const double factor = init.kind == Init::Kind::kConstant ? 1 : 3;
    EXPECT_DOUBLE_EQ(three.inits.at(id).value, factor * init.value) << one.value(id).name;
  }
}

TEST(Variants, RefuseWhatTheyCannotHonour) {
  const auto refusal = [](const std::string& name, const std::vector<std::string>& overrides) -> std::string {
    try {
      variant(name, overrides);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      return error.what();
    }
    return "built";
  };
  struct Case {
    std::string name, key, expected;
  };
  const std::vector<Case> cases = {
      {"cifar_plain20", "model.gate=exclusive", "cifar_plain20 has no shortcuts: option gate"},
      {"cifar_plain20", "model.survival=0.5", "option survival must be left out"},
      {"cifar_plain20", "model.placement=preactivation", "option placement must be left out"},
      {"cifar_resnet20", "model.gate_bias=[1]", "with option gate only"},
      {"cifar_resnet20", "model.sampled_blocks=10", "sampled_blocks is 10, allowed is 0 to 9"},
      {"cifar_resnet20", "model.carry=own", "has no option carry"},
      {"cifar_resnet20", "model.compression=0.5", "has no option compression"},
      {"cifar_preresnet20", "model.activation=crelu", "activation is crelu"},
      {"cifar_preresnet20", "model.batch_norm=false", "batch_norm is false"},
      {"cifar_highway19", "model.batch_norm=false", "has no option batch_norm"},
      {"cifar_highway19", "model.shortcut=C", "allowed are A (zero channels) and B"},
      {"mnist_plain10_71", "model.gate_bias=[1]", "has no option gate_bias"},
      {"cifar_densenet40_12", "model.gate=exclusive", "has no option gate"},
      {"cifar_densenet41_12", "train.seed=1", "depth is 41, allowed are 3n+4"},
      {"cifar_wrn27_10", "train.seed=1", "depth is 27, allowed are 6n+4"},
      {"cifar_wrn28_65", "train.seed=1", "width factor is 65, allowed is 1 to 64"},
      {"mnist_highway1_50", "train.seed=1", "depth is 1, allowed is 2 to 1000"},
      {"cifar_resnet20", "model.gate_bias=[1, 2]", "model.gate_bias has 2 values"},
  };
  for (const Case& c : cases) {
    const std::string message = refusal(c.name, {c.key});
    EXPECT_NE(message.find(c.expected), std::string::npos) << c.name << " " << c.key << ": " << message;
  }
  EXPECT_NE(refusal("cifar_resnet20", {"model.survival=0.5", "model.sampled_blocks=3"}).find("one of them"),
            std::string::npos);
}

}  // namespace
}  // namespace residuum
