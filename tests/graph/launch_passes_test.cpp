// The passes that bring together what one launch computes, reader_copies and neighbours: they change no
// result, keep an order in which producers come first, and leave next to each convolution what it can form
// itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "engine/graph/passes.h"
#include "engine/graph/readers.h"
#include "models/zoo.h"
#include "tests/support/gradients.h"

namespace residuum {
namespace {

const char* const kModels[] = {"cifar_resnet8", "cifar_preresnet8", "cifar_plain8", "resnet18"};

bool is_product(const Op& op) {
  return std::holds_alternative<Conv>(op) || std::holds_alternative<ConvBackwardData>(op) ||
         std::holds_alternative<ConvBackwardFilter>(op);
}

/// Every convolution, and every ReLU's gradient.
bool absorbs_all(const Graph& graph, NodeId reader, size_t) {
  const Op& op = graph.node(reader).op;
  return is_product(op) || std::holds_alternative<ActivationBackward>(op);
}

bool forms(const Op& op) {
  return std::holds_alternative<BatchNormApply>(op) || std::holds_alternative<Activation>(op) ||
         std::holds_alternative<BatchNormBackwardApply>(op);
}

Graph with_passes(Graph graph, const AbsorbRule& rule) {
  graph = reader_copies(std::move(graph), rule);
  graph.validate("reader_copies");
  graph = neighbours(std::move(graph));
  graph.validate("neighbours");
  graph = prune(std::move(graph));
  graph.validate("prune");
  return graph;
}

Graph training_graph(const char* model, bool recompute, const AbsorbRule& rule,
                     const LayersRule& layers = {}) {
  ModelOptions options;
  options.batch = 2;
  TrainingPassOptions passes;
  passes.recompute = recompute;
  passes.relu_masks = true;
  passes.absorbs = rule;
  passes.filter_layers = layers;
  return run_passes(build_model(model, options), training_passes(passes));
}

TEST(LaunchPasses, KeepTheGradients) {
  for (const char* model : {"cifar_resnet8", "cifar_preresnet8"}) {
    const Graph graph = prune(relu_masks(differentiated(model, true)));
    expect_same_gradients(graph, with_passes(graph, absorbs_all));
  }
}

TEST(LaunchPasses, WithoutARuleNothingIsCopied) {
  for (const char* model : {"cifar_resnet8", "cifar_preresnet8"}) {
    const Graph graph = prune(relu_masks(differentiated(model, true)));
    const AbsorbRule never = [](const Graph&, NodeId, size_t) { return false; };
    EXPECT_EQ(with_passes(graph, never).nodes.size(), graph.nodes.size()) << model;
  }
}

/// What a backward convolution reads of a batch norm or its gradient is formed by nodes just before it, for
/// it alone.
TEST(LaunchPasses, BackwardConvolutionsHaveTheirOwnSources) {
  for (const char* model : kModels) {
    for (const bool recompute : {false, true}) {
      const Graph graph = training_graph(model, recompute, absorbs_all);
      const Readers readers(graph);
      int formed = 0;
      for (size_t n = 0; n < graph.nodes.size(); ++n) {
        const Node& node = graph.nodes[n];
        if (!is_product(node.op) || node.phase != Phase::kBackward) continue;
        const size_t first = n - std::min<size_t>(n, 3);
        for (const ValueId input : node.inputs) {
          const NodeId producer = graph.value(input).producer;
          if (producer == kNone || !forms(graph.node(producer).op)) continue;
          EXPECT_TRUE(readers.only(input, static_cast<NodeId>(n))) << model << ": " << node.name;
          EXPECT_GE(static_cast<size_t>(producer), first) << model << ": " << node.name;
          ++formed;
        }
      }
      EXPECT_GE(formed, 13 + 3) << model
                                << ": gradients of six convolutions for two passes and of the stem for "
                                   "one; an activation inside of each block";
    }
  }
}

/// Statistics, residual additions and gates follow the convolution whose result they take.
TEST(LaunchPasses, WhatTakesAResultFollowsIt) {
  for (const char* model : kModels) {
    const Graph graph = training_graph(model, false, absorbs_all);
    for (size_t n = 1; n < graph.nodes.size(); ++n) {
      const Node &node = graph.nodes[n], &before = graph.nodes[n - 1];
      if (!std::holds_alternative<BatchNormStats>(node.op)) continue;
      EXPECT_EQ(node.inputs[0], before.outputs[0]) << model << ": " << node.name;
    }
  }
}

/// A tensor that somebody needs in memory is made once and stored.
TEST(LaunchPasses, AForwardTensorWithOtherReadersIsNotCopied) {
  const Graph graph = training_graph("cifar_resnet8", false, absorbs_all);
  const auto forward_relus = std::count_if(graph.nodes.begin(), graph.nodes.end(), [](const Node& node) {
    return std::holds_alternative<Activation>(node.op) && node.phase == Phase::kForward;
  });
  EXPECT_EQ(forward_relus, 1 + 3) << "the stem's and one in each block; the joins write masks";
}

// ---- equal_filters ----

constexpr int kTogether = 3;

int three_of_3x3(const Graph& graph, NodeId filter) {
  return std::get<ConvBackwardFilter>(graph.node(filter).op).shape.r == 3 ? kTogether : 1;
}

Graph with_equal_filters(const char* model) {
  return training_graph(model, false, absorbs_all, three_of_3x3);
}

/// Names and operations in the order of the names.
std::vector<std::string> sorted_nodes(const Graph& graph) {
  std::vector<std::string> nodes;
  for (const Node& node : graph.nodes)
    nodes.push_back(node.name + " " + std::string(op_name(node.op)) + " " +
                    std::to_string(node.outputs.size()));
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

TEST(LaunchPasses, EqualWeightGradientsKeepTheGradients) {
  for (const char* model : {"cifar_resnet14", "cifar_preresnet14"}) {
    const Graph graph = prune(relu_masks(differentiated(model, true)));
    Graph gathered = equal_filters(with_passes(graph, absorbs_all), three_of_3x3);
    gathered.validate("equal_filters");
    expect_same_gradients(graph, gathered);
  }
}

/// Weight gradients with nothing between them but what forms their operands, of one shape: how often there
/// are how many.
std::map<int, int> runs_of_filters(const Graph& graph) {
  std::map<int, int> runs;
  int length = 0;
  const ConvBackwardFilter* last = nullptr;
  const auto end = [&] {
    if (length > 0) ++runs[length];
    length = 0;
  };
  for (const Node& node : graph.nodes) {
    const auto* filter = std::get_if<ConvBackwardFilter>(&node.op);
    if (filter == nullptr) {
      if (!forms(node.op)) end();
      continue;
    }
    if (length > 0 && filter->shape != last->shape) end();
    last = filter;
    ++length;
  }
  end();
  return runs;
}

/// In a stage of cifar_resnet20 (three blocks) the second convolutions of the blocks are equal, and the first
/// ones but for the one with the stride: their source is stored, that of the others formed.
TEST(LaunchPasses, EqualWeightGradientsAreTogether) {
  const Graph apart = training_graph("cifar_resnet20", false, absorbs_all),
              together = with_equal_filters("cifar_resnet20");
  EXPECT_EQ(sorted_nodes(together), sorted_nodes(apart)) << "nodes were lost or made";
  EXPECT_EQ(runs_of_filters(apart), (std::map<int, int>{{1, 19}}));
  EXPECT_EQ(runs_of_filters(together), (std::map<int, int>{{1, 3}, {2, 2}, {3, 4}}))
      << "stem and two strides; the other first convolutions of two stages; of the first stage all, and all "
         "second ones";
}

/// No more than one launch takes; what is left of a stage comes before the backward pass ends.
TEST(LaunchPasses, WeightGradientsOfLongStagesAreInSeveralLaunches) {
  const Graph graph = with_equal_filters("cifar_resnet32");  // five blocks a stage
  for (const auto& [length, times] : runs_of_filters(graph)) EXPECT_LE(length, 2 * kTogether) << times;
  const auto last_backward = std::find_if(graph.nodes.rbegin(), graph.nodes.rend(), [](const Node& node) {
    return std::holds_alternative<ConvBackwardFilter>(node.op);
  });
  const auto first_update = std::find_if(graph.nodes.begin(), graph.nodes.end(),
                                         [](const Node& node) { return node.phase >= Phase::kAccumulate; });
  EXPECT_LE(last_backward.base(), first_update);
}

}  // namespace
}  // namespace residuum
