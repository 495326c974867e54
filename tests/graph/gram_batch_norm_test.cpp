// The pass gram_batch_norm: which convolutions it changes, that a training step has the same values after it
// (in double exactly, on the CPU as closely as without it), and that later passes give its nodes the order
// and the weights they need.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>

#include "engine/graph/autodiff.h"
#include "engine/graph/builder.h"
#include "engine/graph/passes.h"
#include "engine/graph/readers.h"
#include "tests/support/bottleneck_net.h"
#include "tests/support/compare.h"
#include "tests/support/golden_data.h"
#include "tests/support/gradients.h"
#include "tests/support/graph_run.h"
#include "tests/support/random_tensor.h"
#include "tests/support/test_device.h"

namespace residuum {
namespace {

using reference::Tensor;
using reference::Tensors;

constexpr StepParams kParams{.seed = 1, .step = 0, .micro_step = 0, .learning_rate = 0.1f};
/// Of the net's four wide 1x1 convolutions with stride 1: the last of each bottleneck, one projection.
constexpr int64_t kPlaces = 4;

Graph step_of(DType type, const TrainingPassOptions& options) {
  return run_passes(bottleneck_net(type, 4, 16, 10), training_passes(options));
}

TrainingPassOptions with_gram() {
  return {.gram_batch_norm = true};
}

// ---- which convolutions ----

TEST(GramBatchNorm, ReplacesTheBatchNormsOfWidePointwiseConvolutions) {
  const Graph plain = step_of(DType::kF32, {}), graph = step_of(DType::kF32, with_gram());
  for (const char* name : {"gram", "gram_stats", "gram_backward_reduce", "gram_backward_filter",
                           "gram_backward_weight", "concat"})
    EXPECT_EQ(count(graph, name), kPlaces) << name;
  for (const char* name : {"batch_norm_stats", "batch_norm_backward_reduce", "batch_norm_backward_apply"})
    EXPECT_EQ(count(graph, name), count(plain, name) - kPlaces) << name;
  for (const char* name : {"conv", "conv_backward_data", "conv_backward_filter", "batch_norm_apply"})
    EXPECT_EQ(count(graph, name), count(plain, name)) << name;
}

TEST(GramBatchNorm, LeavesOneReaderToTheConvolutionsResult) {
  const Graph graph = step_of(DType::kF32, with_gram());
  const Readers readers(graph);
  int64_t found = 0;
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<GramStats>(node.op)) continue;
    const auto apply = std::find_if(graph.nodes.begin(), graph.nodes.end(), [&](const Node& other) {
      return std::holds_alternative<BatchNormApply>(other.op) && other.inputs[1] == node.outputs[0];
    });
    ASSERT_NE(apply, graph.nodes.end());
    EXPECT_EQ(readers.of(apply->inputs[0]).size(), 1u) << node.name;
    ++found;
  }
  EXPECT_EQ(found, kPlaces);
}

/// How many Gram nodes a net of one convolution of 4 channels and a batch norm has after the pass.
int64_t places_in(int64_t channels, int64_t kernel, GraphBuilder::ConvOptions options,
                  const std::function<ValueId(GraphBuilder&, ValueId y, ValueId normalised)>& tail,
                  Mode mode = Mode::kTrain) {
  GraphBuilder builder(mode, DType::kF32);
  const ValueId x = builder.input("x", {DType::kF32, {3, 6, 6, 4}});
  const ValueId y = builder.conv("conv", x, channels, kernel, options);
  const ValueId last = tail(builder, y, builder.batch_norm("bn", y));
  builder.classification_loss(builder.linear("fc", builder.global_avg_pool(last), 5, {.logits = true}), 0);
  const Graph graph = gram_batch_norm(differentiate(builder.take(), {x}));
  graph.validate("gram_batch_norm");
  return count(graph, "gram");
}

TEST(GramBatchNorm, LeavesEveryOtherConvolutionAlone) {
  const auto plain = [](GraphBuilder&, ValueId, ValueId normalised) { return normalised; };
  EXPECT_EQ(places_in(8, 1, {}, plain), 1);
  EXPECT_EQ(places_in(7, 1, {}, plain), 0) << "less than twice as many channels";
  EXPECT_EQ(places_in(8, 3, {.pad = 1}, plain), 0);
  EXPECT_EQ(places_in(8, 1, {.stride = 2}, plain), 0);
  EXPECT_EQ(places_in(8, 1, {.pad = 1}, plain), 0);
  EXPECT_EQ(places_in(8, 1, {.groups = 2}, plain), 0);
  EXPECT_EQ(places_in(8, 1, {.bias = true}, plain), 0) << "the batch norm reads the bias node";
  EXPECT_EQ(places_in(8, 1, {}, plain, Mode::kEval), 0) << "running statistics";
  EXPECT_EQ(places_in(8, 1, {},
                      [](GraphBuilder& b, ValueId y, ValueId normalised) { return b.add(y, normalised); }),
            0)
      << "somebody else reads the result";
  EXPECT_EQ(places_in(8, 1, {},
                      [](GraphBuilder& b, ValueId y, ValueId normalised) {
                        b.graph().outputs["y"] = y;
                        return normalised;
                      }),
            0)
      << "the result is an output";
  EXPECT_EQ(places_in(8, 1, {},
                      [](GraphBuilder& b, ValueId y, ValueId normalised) {
                        return b.add(normalised, b.batch_norm("bn2", y));
                      }),
            0)
      << "two batch norms";
}

TEST(GramBatchNorm, ChangesNothingWhereNothingMatches) {
  const Graph graph = differentiated("cifar_resnet8", false);
  expect_same_gradients(graph, gram_batch_norm(graph));
  EXPECT_EQ(gram_batch_norm(graph).nodes.size(), graph.nodes.size());
}

// ---- the same step ----

using Results = std::vector<std::pair<std::string, ValueId>>;

/// What a step is compared by: loss, gradients, batch statistics. Names are those of the plain graph.
Results results_of(const Graph& graph) {
  Results results = {{"loss", graph.output("loss")}};
  for (const auto& [parameter, gradient] : graph.gradients)
    results.push_back({"gradient of " + graph.value(parameter).name, gradient});
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<BatchNormStats>(node.op) && !std::holds_alternative<GramStats>(node.op))
      continue;
    results.push_back({"mean of " + node.name, node.outputs[0]});
    results.push_back({"variance of " + node.name, node.outputs[1]});
  }
  std::sort(results.begin(), results.end());
  return results;
}

Tensors exact_step(const Graph& graph) {
  Tensors values = golden_start(graph);
  run_reference(graph, values, kParams);
  return values;
}

/// The same formulas in another order, in double.
constexpr double kReordered = 1e-9;

TEST(GramBatchNorm, IsTheSameStepInDouble) {
  const Graph plain = step_of(DType::kF32, {});
  const Tensors expected = exact_step(plain);
  const auto wanted = results_of(plain);
  for (const bool recompute : {false, true}) {
    for (const bool masks : {false, true}) {
      for (const bool absorbed : {false, true}) {
        SCOPED_TRACE(fmt::format("recompute {}, masks {}, absorbed {}", recompute, masks, absorbed));
        TrainingPassOptions options = with_gram();
        options.recompute = recompute;
        options.relu_masks = masks;
        if (absorbed) options.absorbs = [](const Graph&, NodeId, size_t) { return true; };
        const Graph graph = step_of(DType::kF32, options);
        const Tensors found = exact_step(graph);
        const auto results = results_of(graph);
        ASSERT_EQ(results.size(), wanted.size());
        for (size_t i = 0; i < results.size(); ++i) {
          ASSERT_EQ(results[i].first, wanted[i].first);
          EXPECT_LE(deviation(found[static_cast<size_t>(results[i].second)],
                              expected[static_cast<size_t>(wanted[i].second)]),
                    kReordered)
              << results[i].first;
        }
      }
    }
  }
}

// ---- as exact as the plain path ----

/// How far off the results of a step on the CPU are from the exact values of `wanted`, in the order of
/// results_of.
std::vector<double> cpu_deviations(const Graph& graph, const Tensors& start, const Tensors& exact,
                                   const Results& wanted) {
  GraphRun run(graph, cpu_backend(2), Grouping::kSeparate);
  for (size_t id = 0; id < graph.values.size(); ++id) {
    if (graph.values[id].persistent()) run.write(static_cast<ValueId>(id), start[id]);
  }
  run.run(kParams);
  EXPECT_EQ(run.overruns(), std::vector<std::string>{});
  const Results results = results_of(graph);
  std::vector<double> deviations;
  for (size_t i = 0; i < results.size(); ++i) {
    deviations.push_back(
        deviation(run.read(results[i].second), exact[static_cast<size_t>(wanted[i].second)]));
  }
  return deviations;
}

/// A result may be `factor` times as far off as on the plain path, or `floor` if that is more.
struct Metric {
  std::string_view name, reason;
  double floor, factor;
};

/// Prints the largest deviations of each kind of result on both paths, and bounds each.
void expect_as_exact(const std::string& title, const Metric& metric, const Results& names,
                     const std::vector<double>& plain, const std::vector<double>& found) {
  std::map<std::string, std::pair<double, double>> worst;
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_LE(found[i], std::max(metric.floor, metric.factor * plain[i]))
        << names[i].first << ": metric '" << metric.name << "' (" << metric.reason
        << "), the plain path is off by " << plain[i];
    auto& [of_plain, of_found] = worst[names[i].first.substr(0, names[i].first.find_first_of(" "))];
    of_plain = std::max(of_plain, plain[i]);
    of_found = std::max(of_found, found[i]);
  }
  for (const auto& [kind, off] : worst)
    fmt::print("{}: {} off by {:.2e} at most, without the pass {:.2e}\n", title, kind, off.second, off.first);
}

constexpr Metric kF32Step{
    "f32 step", "f32 sums over a dozen layers; the factor: sums of products in place of sums", 2e-5, 4};
constexpr Metric kBF16Step{"bf16 step",
                           "2^-8 a layer; a ReLU near zero that switches moves its whole gradient", 2e-2, 2};

TEST(GramBatchNorm, AStepIsAsExactOnTheCpu) {
  const Graph exact_graph = step_of(DType::kF32, {});
  const Tensors exact = exact_step(exact_graph);
  const Results names = results_of(exact_graph);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const auto off = [&](const TrainingPassOptions& options) {
      const Graph graph = step_of(type, options);
      return cpu_deviations(graph, golden_start(graph), exact, names);
    };
    expect_as_exact(fmt::format("step in {}", to_string(type)), type == DType::kF32 ? kF32Step : kBF16Step,
                    names, off({.weight_copies = true}), off(with_gram()));
  }
}

/// One wide convolution with its batch norm and nothing that jumps after it, with every gradient.
Graph one_layer(DType type) {
  GraphBuilder builder(Mode::kTrain, type);
  const ValueId x = builder.input("x", {type, {16, 7, 7, 32}});
  const ValueId y = builder.batch_norm("bn", builder.conv("conv", x, 128, 1, {}));
  const ValueId pooled = builder.global_avg_pool(builder.activation(ActivationKind::kSigmoid, y));
  builder.classification_loss(builder.linear("fc", pooled, 10, {.logits = true}), 0);
  Graph graph = differentiate(builder.take(), {x});
  for (const auto& [value, gradient] : graph.gradients)
    graph.outputs["gradient of " + graph.value(value).name] = gradient;
  return graph;
}

/// Values that bf16 holds, so that nothing but the arithmetic differs; x as after a ReLU.
Tensors start_of_layer(const Graph& graph) {
  Tensors values(graph.values.size());
  for (size_t id = 0; id < graph.values.size(); ++id) {
    const Value& value = graph.values[id];
    if (!value.persistent()) continue;
    values[id] = value.name == "labels" ? integer_tensor(value.desc.shape, id, 10)
                 : value.name == "x"
                     ? reference::activation(ActivationKind::kRelu, uniform_tensor(value.desc.shape, id))
                     : uniform_tensor(value.desc.shape, id);
    values[id] = rounded_to(DType::kBF16, values[id]);
  }
  return values;
}

constexpr Metric kF32Layer{"f32 layer", "f32 sums; the factor: sums of products in place of sums", 2e-6, 4};
constexpr Metric kBF16Layer{
    "bf16 layer",
    "the incoming gradient is rounded on both paths; then the gradient of y is rounded "
    "on one, the folded weight on the other",
    1e-6, 1.5};

TEST(GramBatchNorm, ALayerIsAsExactOnTheCpu) {
  const Graph exact_graph = one_layer(DType::kF32);
  const Results names = results_of(exact_graph);
  Tensors exact = start_of_layer(exact_graph);
  run_reference(exact_graph, exact, kParams);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    const Graph plain = one_layer(type), graph = gram_batch_norm(plain);
    const Tensors start = start_of_layer(plain);
    const std::vector<double> of_plain = cpu_deviations(plain, start, exact, names),
                              found = cpu_deviations(graph, start, exact, names);
    expect_as_exact(fmt::format("layer in {}", to_string(type)), type == DType::kF32 ? kF32Layer : kBF16Layer,
                    names, of_plain, found);
  }
}

// ---- the passes after it ----

TEST(GramBatchNorm, ReadsTheWeightThatTheConvolutionReads) {
  const Graph graph = step_of(DType::kBF16, with_gram());
  int64_t found = 0;
  for (const Node& node : graph.nodes) {
    const auto expect_copy = [&](size_t input) {
      EXPECT_EQ(graph.value(node.inputs[input]).kind, ValueKind::kCopy)
          << node.name << " " << op_name(node.op);
      ++found;
    };
    if (std::holds_alternative<GramStats>(node.op)) expect_copy(2);
    if (std::holds_alternative<GramBackwardReduce>(node.op)) expect_copy(1);
    if (std::holds_alternative<GramBackwardWeight>(node.op)) expect_copy(0);
  }
  EXPECT_EQ(found, 3 * kPlaces);
}

TEST(GramBatchNorm, RecomputeDoesNotRepeatTheConvolution) {
  TrainingPassOptions options = with_gram();
  options.recompute = true;
  const Graph graph = step_of(DType::kF32, options);
  EXPECT_EQ(count(graph, "gram"), kPlaces);
  EXPECT_EQ(count(graph, "gram_stats"), kPlaces);
  for (const Node& node : graph.nodes) {
    if (node.phase != Phase::kRecompute || !std::holds_alternative<Conv>(node.op)) continue;
    EXPECT_FALSE(node.name.ends_with("conv3")) << node.name;
  }
}

/// After its convolution nothing but what the convolution's launch can compute: its batch norm, the
/// shortcut's that is added to it, the addition, the ReLU.
TEST(GramBatchNorm, TheBatchNormFollowsItsConvolution) {
  TrainingPassOptions options = with_gram();
  options.relu_masks = true;
  options.absorbs = [](const Graph&, NodeId, size_t) { return true; };
  const Graph graph = step_of(DType::kF32, options);
  const std::map<std::string, std::vector<std::string>> expected = {
      {"layer1.0.conv3", {"batch_norm_apply"}},
      {"layer1.0.downsample.0", {"batch_norm_apply", "add", "relu_mask"}},
      {"layer1.1.conv3", {"batch_norm_apply", "add", "relu_mask"}},
      {"layer2.0.conv3", {"batch_norm_apply", "batch_norm_apply", "add", "relu_mask"}}};
  size_t found = 0;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const auto wanted = expected.find(graph.nodes[n].name);
    if (wanted == expected.end() || !std::holds_alternative<Conv>(graph.nodes[n].op)) continue;
    std::vector<std::string> names;
    for (size_t i = 1; i <= wanted->second.size(); ++i)
      names.push_back(std::string(op_name(graph.nodes.at(n + i).op)));
    EXPECT_EQ(names, wanted->second) << wanted->first;
    ++found;
  }
  EXPECT_EQ(found, expected.size());
}

}  // namespace
}  // namespace residuum
