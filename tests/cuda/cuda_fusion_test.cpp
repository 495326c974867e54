// The sequences that one CUDA kernel computes (engine/backend/cuda/fusion/fusion.h): each is one launch with
// the references' results, and a value that somebody else reads never disappears. Over whole nets: every
// group is one step, and no step wants the address of a value that has none.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/backend/cuda/fusion/fusion.h"
#include "engine/backend/cuda/fusion/fusion_conv.h"
#include "engine/backend/cuda/launch/cuda_launch.h"
#include "engine/graph/passes.h"
#include "models/zoo.h"
#include "tests/support/compare.h"
#include "tests/support/gradients.h"
#include "tests/support/graph_chain.h"
#include "tests/support/op_case.h"

namespace residuum {
namespace {

using reference::Tensor;

const std::vector<Shape> kShapes = {{1, 1, 1, 1}, {2, 7, 5, 3}, {3, 6, 6, 16}, {2, 9, 8, 64}, {9, 5, 4, 17}};

/// Multiples of 1/8 in [-2, 2]: sums of a few are exact in every type, so that no rounding hides or shows.
Tensor eighths(const Shape& shape, uint64_t seed) {
  Tensor tensor = integer_tensor(shape, seed, 33);
  for (double& value : tensor.data) value = (value - 16) / 8;
  return tensor;
}

/// The inputs of a batch norm.
struct Norm {
  Norm(GraphChain& chain, const Shape& shape, DType type)
      : src(chain.input("src", type, uniform_tensor(shape, 11))),
        mean(chain.vector("mean", shape[3], -0.1, 0.1)),
        variance(chain.vector("variance", shape[3], 0.2, 0.4)),
        gamma(chain.vector("gamma", shape[3], 0.5, 1.5)),
        beta(chain.vector("beta", shape[3], -0.5, 0.5)) {}
  std::vector<ValueId> apply() const { return {src, mean, variance, gamma, beta}; }
  ValueId src, mean, variance, gamma, beta;
};

using MakeChain = std::function<GraphChain(const Shape&, DType)>;

void expect_launches_and_results(const GraphChain& chain, DType type, size_t launches) {
  const reference::Tensors expected = chain.reference_values();
  std::vector<std::vector<std::byte>> first;
  for_each_variant([&](const Variant& variant) {
    GraphRun joined(chain.graph, *variant.backend, Grouping::kJoined);
    EXPECT_EQ(joined.launches(), launches);
    const auto bytes = chain.run(joined);
    if (first.empty()) {
      first = bytes;
      for (const ValueId id : chain.results) {
        const TensorDesc& desc = chain.graph.desc(id);
        const bool vector = desc.shape.rank() == 1;  // the sums of a gradient
        const Tolerance tolerance = vector                     ? summed_f32(chain.graph.desc(0).elements())
                                    : desc.dtype == DType::kU8 ? kExact
                                                               : rounded_tolerance(type);
        EXPECT_TRUE(matches(joined.read(id), expected[static_cast<size_t>(id)], tolerance, vector ? 4 : 8))
            << chain.graph.value(id).name;
      }
    }
    EXPECT_EQ(bytes, first) << "other bits: " << variant.name;
    EXPECT_EQ(joined.overruns(), std::vector<std::string>{}) << variant.name;
  });
}

void expect_for_all(const MakeChain& make, size_t launches) {
  for (const Shape& shape : kShapes) {
    for (const DType type : activation_types()) {
      SCOPED_TRACE(fmt::format("{} {}", to_string(shape), to_string(type)));
      expect_launches_and_results(make(shape, type), type, launches);
    }
  }
}

TEST(CudaFusion, ApplyAndRelu) {
  expect_for_all(
      [](const Shape& shape, DType type) {
        GraphChain chain;
        const Norm norm(chain, shape, type);
        const ValueId normalised = chain.graph.add_node("bn", BatchNormApply{}, norm.apply())[0];
        chain.result(chain.graph.add_node("relu", Activation{}, {normalised}));
        return chain;
      },
      1);
}

TEST(CudaFusion, ApplyAndAddAndRelu) {
  const std::vector<Op> last_ops = {Add{}, Activation{}, ReluMask{}};
  for (const bool apply_first : {false, true}) {
    for (const Op& last_op : last_ops) {
      expect_for_all(
          [&](const Shape& shape, DType type) {
            GraphChain chain;
            const Norm norm(chain, shape, type);
            const ValueId addend = chain.input("addend", type, uniform_tensor(shape, 12));
            const ValueId normalised = chain.graph.add_node("bn", BatchNormApply{}, norm.apply())[0];
            const std::vector<ValueId> addends =
                apply_first ? std::vector{normalised, addend} : std::vector{addend, normalised};
            std::vector<ValueId> last = chain.graph.add_node("add", Add{}, addends);
            if (!std::holds_alternative<Add>(last_op)) last = chain.graph.add_node("relu", last_op, last);
            chain.result(last);
            return chain;
          },
          1);
    }
  }
}

TEST(CudaFusion, TheStemsTail) {
  for (const bool with_argmax : {false, true}) {
    expect_for_all(
        [&](const Shape& shape, DType type) {
          GraphChain chain;
          const Norm norm(chain, shape, type);
          const ValueId normalised = chain.graph.add_node("bn", BatchNormApply{}, norm.apply())[0];
          const ValueId active = chain.graph.add_node("relu", Activation{}, {normalised})[0];
          const std::vector<ValueId> pooled = chain.graph.add_node("pool", MaxPool{3, 2, 1}, {active});
          chain.result({pooled[0]});
          if (with_argmax && type == DType::kF32) chain.result({pooled[1]});  // 16 bits have ties
          return chain;
        },
        1);
  }
}

/// The gradient of a batch norm behind a ReLU whose output, or mask, was stored by somebody else.
GraphChain stored_gate(const Shape& shape, DType type, bool mask, bool sum, bool gradient_read) {
  GraphChain chain;
  Graph& g = chain.graph;
  const Norm norm(chain, shape, type);
  const Shape mask_shape{shape[0], shape[1], shape[2], (shape[3] + 7) / 8};
  const ValueId gate = mask ? chain.input("mask", DType::kU8, integer_tensor(mask_shape, 14, 256))
                            : chain.input("active", type, eighths(shape, 14));
  ValueId d = chain.input("d", type, eighths(shape, 12));
  if (sum) d = g.add_node("sum", Add{}, {d, chain.input("d2", type, eighths(shape, 13))})[0];
  d = g.add_node("relu", mask ? Op(ReluMaskBackward{}) : Op(ActivationBackward{}), {d, gate})[0];
  chain.result(g.add_node("bn", BatchNormBackwardReduce{}, {d, norm.src, norm.mean, norm.variance}));
  if (gradient_read) chain.result({d});
  return chain;
}

TEST(CudaFusion, GradientBehindAStoredRelu) {
  for (const bool mask : {false, true}) {
    for (const bool sum : {false, true}) {
      for (const bool gradient_read : {false, true}) {
        expect_for_all([&](const Shape& shape,
                           DType type) { return stored_gate(shape, type, mask, sum, gradient_read); },
                       1);
      }
    }
  }
}

TEST(CudaFusion, SumOfGradientsWithoutRelu) {
  expect_for_all(
      [](const Shape& shape, DType type) {
        GraphChain chain;
        const Norm norm(chain, shape, type);
        const ValueId a = chain.input("a", type, eighths(shape, 12)),
                      b = chain.input("b", type, eighths(shape, 13));
        const ValueId d = chain.graph.add_node("sum", Add{}, {a, b})[0];
        chain.result(
            chain.graph.add_node("bn", BatchNormBackwardReduce{}, {d, norm.src, norm.mean, norm.variance}));
        chain.result({d});
        return chain;
      },
      1);
}

/// What the rematerialize pass makes of pool(relu(bn(src))): the ReLU's input is computed again for its gate.
GraphChain repeated_gate(const Shape& shape, DType type, bool pool, bool active_read) {
  GraphChain chain;
  Graph& g = chain.graph;
  const Norm norm(chain, shape, type);
  const PoolShape window{shape[0], shape[1], shape[2], shape[3], 3, 2, 1};
  ValueId d = chain.input("d", type, eighths({shape[0], window.p(), window.q(), shape[3]}, 12));
  if (pool) {
    const Tensor argmax = reference::max_pool({3, 2, 1}, distinct_tensor(shape, 5))[1];
    d = g.add_node("pool", MaxPoolBackward{window}, {d, chain.input("argmax", DType::kU8, argmax)})[0];
  } else {
    d = chain.input("wide", type, eighths(shape, 12));
  }
  const ValueId normalised = g.add_node("bn", BatchNormApply{}, norm.apply())[0];
  const ValueId active = g.add_node("relu", Activation{}, {normalised})[0];
  d = g.add_node("relu", ActivationBackward{}, {d, active})[0];
  chain.result(g.add_node("bn", BatchNormBackwardReduce{}, {d, norm.src, norm.mean, norm.variance}));
  chain.result({d});
  if (active_read) chain.result({active});
  return chain;
}

TEST(CudaFusion, GradientBehindARepeatedRelu) {
  for (const bool pool : {false, true}) {
    expect_for_all([&](const Shape& shape, DType type) { return repeated_gate(shape, type, pool, false); },
                   1);
  }
}

TEST(CudaFusion, ARepeatedReluThatIsReadIsStored) {
  // bn and relu; the gradient: the pool's backward pass stands before both and cannot join.
  expect_for_all([](const Shape& shape, DType type) { return repeated_gate(shape, type, true, true); }, 3);
  expect_for_all([](const Shape& shape, DType type) { return repeated_gate(shape, type, false, true); }, 2);
}

TEST(CudaFusion, WhatAnotherNodeReadsDoesNotDisappear) {
  expect_for_all(
      [](const Shape& shape, DType type) {
        GraphChain chain;
        const Norm norm(chain, shape, type);
        const ValueId normalised = chain.graph.add_node("bn", BatchNormApply{}, norm.apply())[0];
        const ValueId active = chain.graph.add_node("relu", Activation{}, {normalised})[0];
        chain.result(chain.graph.add_node("scale", Scale{2, 0}, {normalised}));
        chain.result({active});
        return chain;
      },
      3);
  expect_for_all(
      [](const Shape& shape, DType type) {
        GraphChain chain;
        const Norm norm(chain, shape, type);
        const ValueId normalised = chain.graph.add_node("bn", BatchNormApply{}, norm.apply())[0];
        chain.result(chain.graph.add_node("add", Add{}, {normalised, normalised}));
        return chain;
      },
      2);
}

// ---- what convolutions take in when statistics are known before them ----

/// conv [bias] [batch norm] [+ addend or its batch norm] [ReLU with its mask].
struct ResultCase {
  bool bias = false, norm = false, addend = false, addend_norm = false, relu = false;
};

GraphChain conv_result(const Shape& shape, DType type, const ResultCase& c) {
  GraphChain chain;
  Graph& g = chain.graph;
  const Norm norm(chain, shape, type);
  const ValueId src = chain.input("activation", type, eighths(shape, 21));
  const ValueId weight = chain.input("weight", type, eighths({shape[3], 1, 1, shape[3]}, 22));
  ValueId x = g.add_node("conv", Conv{shape[3], 1, 1, 1, 0, 1}, {src, weight})[0];
  if (c.bias) x = g.add_node("conv", Bias{}, {x, chain.vector("bias", shape[3], -1, 1)})[0];
  const auto normalise = [&](ValueId value) {
    std::vector<ValueId> inputs = norm.apply();
    inputs[0] = value;
    return g.add_node("bn", BatchNormApply{}, inputs)[0];
  };
  if (c.norm) x = normalise(x);
  if (c.addend) x = g.add_node("add", Add{}, {x, c.addend_norm ? normalise(norm.src) : norm.src})[0];
  if (c.relu) x = g.add_node("relu", ReluMask{}, {x})[0];
  chain.result({x});
  return chain;
}

/// Of a sum of products after a tensor it reads was rounded to `type`, as a kernel that forms it must.
Tolerance formed_tolerance(DType type, int64_t terms) {
  Tolerance tolerance = product_tolerance(type, type, terms);
  tolerance.name = "formed operand";
  tolerance.reason =
      "an operand is rounded to its type, half a unit in its last place; products, sums in f32";
  if (type != DType::kF32) tolerance.absolute += type == DType::kBF16 ? 0x1p-10 : 0x1p-13;
  return tolerance;
}

TEST(CudaFusion, ConvolutionsNormaliseTheirResult) {
  for (const ResultCase& c : {ResultCase{.norm = true},
                              {.bias = true, .relu = true},
                              {.bias = true, .norm = true, .addend = true, .relu = true},
                              {.norm = true, .addend = true, .addend_norm = true, .relu = true}}) {
    for (const Shape& shape : kShapes) {
      for (const DType type : activation_types()) {
        SCOPED_TRACE(fmt::format("{} {} norm {} addend {} of {}", to_string(shape), to_string(type), c.norm,
                                 c.addend, c.addend_norm));
        const GraphChain chain = conv_result(shape, type, c);
        const ValueId result = chain.results[0];
        const Tensor expected = chain.reference_values()[static_cast<size_t>(result)];
        GraphRun joined(chain.graph, test_backend(), Grouping::kJoined);
        EXPECT_EQ(joined.launches(), 1u);
        chain.run(joined);
        EXPECT_TRUE(matches(joined.read(result), expected, formed_tolerance(type, shape[3]), 8));
        EXPECT_EQ(joined.overruns(), std::vector<std::string>{});
      }
    }
  }
}

/// A result of which somebody else wants the values before the batch norm is stored.
TEST(CudaFusion, AResultThatIsReadBeforeItsBatchNormIsStored) {
  GraphChain chain = conv_result({2, 9, 8, 64}, DType::kBF16, {.norm = true, .relu = true});
  for (const Node& node : chain.graph.nodes) {
    if (std::holds_alternative<Conv>(node.op)) chain.graph.outputs["conv"] = node.outputs[0];
  }
  GraphRun joined(chain.graph, test_backend(), Grouping::kJoined);
  EXPECT_EQ(joined.launches(), 2u);
}

/// Groups of four channels would share the bytes of a mask: ReLU has a launch of its own.
TEST(CudaFusion, GroupsDoNotShareBytesOfAMask) {
  for (const int64_t groups : {2, 4}) {
    GraphChain chain;
    Graph& g = chain.graph;
    const ValueId src = chain.input("src", DType::kBF16, eighths({2, 5, 7, 16}, 51));
    const ValueId weight = chain.input("weight", DType::kBF16, eighths({16, 1, 1, 16 / groups}, 52));
    const ValueId x = g.add_node("conv", Conv{16, 1, 1, 1, 0, groups}, {src, weight})[0];
    const std::vector<ValueId> results = g.add_node("relu", ReluMask{}, {x});
    chain.result(results);
    const reference::Tensors expected = chain.reference_values();
    GraphRun joined(g, test_backend(), Grouping::kJoined);
    EXPECT_EQ(joined.launches(), groups == 2 ? 1u : 2u);
    chain.run(joined);
    EXPECT_TRUE(matches(joined.read(results[1]), expected[static_cast<size_t>(results[1])], kExact));
  }
}

/// The gradient of z of y = W z with a batch norm behind it: [d_y | f(BN(x))] times one weight, and a bias.
TEST(CudaFusion, BackwardDataReadsTwoTensorsAsOne) {
  for (const bool formed : {false, true}) {
    for (const DType type : activation_types()) {
      SCOPED_TRACE(fmt::format("{} formed {}", to_string(type), formed));
      const Shape narrow{2, 5, 7, 24}, wide{2, 5, 7, 64};
      GraphChain chain;
      Graph& g = chain.graph;
      const Norm norm(chain, narrow, type);
      const ValueId d_dst = chain.input("d_dst", type, eighths(wide, 31));
      const ValueId weight = chain.input("weight", type, eighths({88, 1, 1, 24}, 32));
      ValueId z = norm.src;
      if (formed)
        z = g.add_node("relu", Activation{}, {g.add_node("bn", BatchNormApply{}, norm.apply())[0]})[0];
      const ValueId both = g.add_node("both", Concat{}, {d_dst, z})[0];
      const ConvShape shape{2, 5, 7, 24, 88, 1, 1, 1, 0, 1};
      const ValueId d_src = g.add_node("conv", ConvBackwardData{shape}, {both, weight})[0];
      const ValueId result = g.add_node("conv", Bias{}, {d_src, chain.vector("offset", 24, -1, 1)})[0];
      chain.result({result});
      const Tensor expected = chain.reference_values()[static_cast<size_t>(result)];
      GraphRun joined(g, test_backend(), Grouping::kJoined);
      EXPECT_EQ(joined.launches(), 1u);
      chain.run(joined);
      EXPECT_TRUE(matches(joined.read(result), expected, formed_tolerance(type, 88), 32));
    }
  }
}

/// Both sums over the pixels of d_dst; not where the kernel multiplies what was rounded.
TEST(CudaFusion, BackwardFilterSumsTheGradientOfABias) {
  for (const DType type : activation_types()) {
    SCOPED_TRACE(to_string(type));
    GraphChain chain;
    Graph& g = chain.graph;
    const Shape shape{2, 5, 7, 24};
    const ValueId d_dst = chain.input("d_dst", type, eighths(shape, 41)),
                  src = chain.input("src", type, eighths(shape, 42));
    const ConvShape product{2, 5, 7, 24, 24, 1, 1, 1, 0, 1};
    chain.result(g.add_node("conv", ConvBackwardFilter{product}, {d_dst, src}));
    chain.result(g.add_node("conv", BiasBackward{}, {d_dst}));
    const reference::Tensors expected = chain.reference_values();
    GraphRun joined(g, test_backend(), Grouping::kJoined);
    EXPECT_EQ(joined.launches(), 1u);
    chain.run(joined);
    // Eighths: every product and sum is exact.
    for (const ValueId id : chain.results)
      EXPECT_TRUE(matches(joined.read(id), expected[static_cast<size_t>(id)], kExact));
  }
}

/// Weight gradients of `layers` 3x3 convolutions, one after the other; with a batch norm and ReLU before
/// every source, or none.
GraphChain equal_layers(int layers, bool formed) {
  GraphChain chain;
  Graph& g = chain.graph;
  const Shape shape{2, 9, 7, 16};
  for (int i = 0; i < layers; ++i) {
    const auto seed = static_cast<uint64_t>(i);
    const ValueId d_dst = chain.input(fmt::format("d_dst{}", i), DType::kBF16, eighths(shape, 60 + seed));
    ValueId src = chain.input(fmt::format("src{}", i), DType::kBF16, eighths(shape, 80 + seed));
    if (formed) {
      const auto vector = [&](const char* name, double low, double high) {
        return chain.vector(fmt::format("{}{}", name, i), 16, low, high);
      };
      const std::vector<ValueId> inputs = {src, vector("mean", -1, 1), vector("variance", 0.5, 2),
                                           vector("gamma", -1.5, 1.5), vector("beta", -1, 1)};
      src = g.add_node("relu", Activation{}, {g.add_node("bn", BatchNormApply{}, inputs)[0]})[0];
    }
    const ConvShape product{2, 9, 7, 16, 16, 3, 3, 1, 1, 1};
    chain.result(g.add_node(fmt::format("conv{}", i), ConvBackwardFilter{product}, {d_dst, src}));
  }
  return chain;
}

/// With the bits that each has alone: these sums are in one piece.
TEST(CudaFusion, WeightGradientsOfEqualLayersShareALaunch) {
  const auto alone = make_backend("cuda", {.fusions_off = {"conv_filter_layers"}});
  for (const bool formed : {false, true}) {
    SCOPED_TRACE(formed);
    const GraphChain chain = equal_layers(3, formed);
    GraphRun joined(chain.graph, test_backend(), Grouping::kJoined),
        apart(chain.graph, *alone, Grouping::kJoined);
    EXPECT_EQ(joined.launches(), 1u);
    EXPECT_EQ(apart.launches(), 3u);
    EXPECT_EQ(chain.run(joined) == chain.run(apart), true) << "other bits";
    const reference::Tensors expected = chain.reference_values();
    for (const ValueId id : chain.results) {
      if (formed) continue;
      EXPECT_TRUE(matches(joined.read(id), expected[static_cast<size_t>(id)], kExact));
    }
    EXPECT_EQ(joined.overruns(), std::vector<std::string>{});
  }
}

/// More layers than a launch takes; and what differs from the others in the form of its source.
TEST(CudaFusion, WeightGradientsOfUnequalLayersDoNot) {
  EXPECT_EQ(cuda::cuda_groups(equal_layers(11, false).graph, {}).size(), 2u);
  GraphChain mixed = equal_layers(2, false);
  Graph& g = mixed.graph;
  const ValueId d_dst = mixed.inputs[0].first, src = mixed.inputs[1].first;
  const ConvShape wide{2, 9, 7, 16, 16, 3, 3, 1, 1, 1};
  const ValueId relu = g.add_node("bn", BatchNormApply{},
                                  {src, mixed.vector("mean", 16, -1, 1), mixed.vector("variance", 16, 0.5, 2),
                                   mixed.vector("gamma", 16, -1, 1), mixed.vector("beta", 16, -1, 1)})[0];
  mixed.result(g.add_node("formed", ConvBackwardFilter{wide}, {d_dst, relu}));
  EXPECT_EQ(cuda::cuda_groups(g, {}).size(), 2u);
}

/// Every value a step reads or writes has memory, but for results of a kernel that nobody reads.
void expect_one_step_a_group(const Graph& graph, const std::set<std::string>& off = {}) {
  for (const Group& group : cuda::cuda_groups(graph, off)) {
    const std::vector<cuda::Step> steps = cuda::make_steps(graph, group, {.fusions_off = off});
    ASSERT_EQ(steps.size(), 1u) << graph.node(group.nodes[0]).name;
    for (const ValueId id : steps[0].inputs) {
      EXPECT_EQ(std::count(group.internal.begin(), group.internal.end(), id), 0)
          << graph.value(id).name << " is read from memory and has none";
    }
    for (const NodeId node : group.nodes) {
      for (const ValueId id : graph.node(node).outputs) {
        const bool internal = std::count(group.internal.begin(), group.internal.end(), id) > 0;
        const bool written = std::count(steps[0].outputs.begin(), steps[0].outputs.end(), id) > 0;
        EXPECT_TRUE(internal || written) << graph.value(id).name << " is nobody's result";
      }
    }
  }
}

TEST(CudaFusion, GroupsOfEveryNetAreSingleSteps) {
  for (const char* name : {"resnet18", "resnet50", "cifar_resnet20", "cifar_preresnet20", "cifar_plain20"}) {
    for (const auto& [recompute, gram] :
         {std::pair(false, false), {true, false}, {false, true}, {true, true}}) {
      for (const DType type : {DType::kF32, DType::kBF16}) {
        SCOPED_TRACE(fmt::format("{} recompute {} gram {}", name, recompute, gram));
        ModelOptions options;
        options.batch = 2;
        options.activation = type;
        TrainingPassOptions passes;
        passes.recompute = recompute;
        passes.relu_masks = passes.weight_copies = type == DType::kBF16;
        passes.gram_batch_norm = gram;
        passes.absorbs = [](const Graph& g, NodeId reader, size_t input) {
          return cuda::absorbs(g, reader, input, {});
        };
        passes.filter_layers = [](const Graph& g, NodeId filter) {
          return cuda::filter_layers(g, filter, {});
        };
        expect_one_step_a_group(run_passes(build_model(name, options), training_passes(passes)));
        options.mode = Mode::kEval;
        expect_one_step_a_group(build_model(name, options));
      }
    }
  }
}

/// Without conv_filter_gradient each batch norm's gradient is formed once, and stored for the weights'.
TEST(CudaFusion, GradientsAreFormedOnceWhereFiltersReadThem) {
  const std::set<std::string> off = {"conv_filter_gradient"};
  ModelOptions options;
  options.batch = 2;
  options.activation = DType::kBF16;
  TrainingPassOptions passes;
  passes.relu_masks = passes.weight_copies = true;
  passes.absorbs = [&](const Graph& g, NodeId reader, size_t input) {
    return cuda::absorbs(g, reader, input, off);
  };
  const Graph graph = run_passes(build_model("resnet50", options), training_passes(passes));
  constexpr int64_t kNorms = 53;
  EXPECT_EQ(count(graph, "batch_norm_backward_apply"), kNorms);
  expect_one_step_a_group(graph, off);
  int64_t by_data = 0;
  for (const Group& group : cuda::cuda_groups(graph, off)) {
    std::set<std::string> ops;
    for (const NodeId id : group.nodes) ops.insert(std::string(op_name(graph.node(id).op)));
    if (!ops.contains("batch_norm_backward_apply")) continue;
    EXPECT_FALSE(ops.contains("conv_backward_filter")) << graph.node(group.nodes[0]).name;
    by_data += ops.contains("conv_backward_data") ? 1 : 0;
  }
  constexpr int64_t kStrided = 6,
                    kStem = 1;  // whose backward-data cannot store what it forms, or is not there
  EXPECT_EQ(by_data, kNorms - kStrided - kStem);
}

}  // namespace
}  // namespace residuum
