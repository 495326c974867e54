// The gradient rule of every operation: a small net around it is differentiated by the autodiff pass, run by
// the references in double, and compared with central finite differences of its loss.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "engine/graph/autodiff.h"
#include "engine/graph/builder.h"
#include "engine/graph/passes.h"
#include "tests/support/compare.h"
#include "tests/support/graph_run.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using reference::Tensor;
using reference::Tensors;

constexpr double kStep = 1e-5;

/// A forward graph: input "x", what `body` makes of it, a linear layer and the loss.
Graph forward_graph(const Shape& x, Mode mode, const std::function<ValueId(GraphBuilder&, ValueId)>& body) {
  GraphBuilder builder(mode, DType::kF32);
  const ValueId src = builder.input("x", {DType::kF32, x});
  builder.classification_loss(builder.linear("fc", body(builder, src), 5, {.logits = true}), 0.1f);
  return builder.take();
}

/// Data for every persistent value. Variances and gammas are positive; `x` has no two close values.
Tensors data_for(const Graph& graph) {
  Tensors values(graph.values.size());
  for (size_t id = 0; id < graph.values.size(); ++id) {
    const Value& value = graph.values[id];
    if (!value.persistent()) continue;
    if (value.name == "x")
      values[id] = distinct_tensor(value.desc.shape, 1);
    else if (value.name == "labels")
      values[id] = integer_tensor(value.desc.shape, 2, 5);
    else if (value.name.ends_with("running_var"))
      values[id] = uniform_tensor(value.desc.shape, id, 0.5, 1.5);
    else
      values[id] = uniform_tensor(value.desc.shape, id);
  }
  return values;
}

double loss_of(const Graph& graph, Tensors values) {
  run_reference(graph, values, {.seed = 3, .step = 4});
  return values[static_cast<size_t>(graph.output("loss"))][0];
}

/// Compares the gradient of "x" and of every parameter with finite differences; `pass` follows autodiff.
void expect_gradients(
    const Graph& forward, const std::function<Graph(Graph)>& pass = [](Graph graph) { return graph; }) {
  const ValueId x = *forward.find("x");
  const Graph graph = pass(differentiate(forward, {x}));
  graph.validate("autodiff");
  Tensors values = data_for(graph);
  const Tensors start = values;
  run_reference(graph, values, {.seed = 3, .step = 4});
  size_t checked = 0;
  for (const auto& [id, gradient] : graph.gradients) {
    Tensor expected(graph.desc(id).shape);
    Tensors moved = start;
    Tensor& at = moved[static_cast<size_t>(id)];
    for (int64_t i = 0; i < expected.elements(); ++i) {
      const double value = at[i];
      at[i] = value + kStep;
      const double above = loss_of(forward, moved);
      at[i] = value - kStep;
      expected[i] = (above - loss_of(forward, moved)) / (2 * kStep);
      at[i] = value;
    }
    EXPECT_TRUE(matches(values[static_cast<size_t>(gradient)], expected, kFiniteDifference))
        << graph.value(id).name;
    ++checked;
  }
  size_t parameters = 0;
  for (const Value& value : forward.values) parameters += value.kind == ValueKind::kParameter;
  EXPECT_EQ(checked, parameters + 1) << "every parameter and x must have a gradient";
}

void expect_gradients(const std::function<ValueId(GraphBuilder&, ValueId)>& body, Mode mode = Mode::kTrain) {
  expect_gradients(forward_graph({3, 5, 4, 4}, mode, body));
}

TEST(OpGradient, Conv) {
  expect_gradients([](GraphBuilder& b, ValueId x) { return b.conv("c", x, 3, 3, {.stride = 1, .pad = 1}); });
  expect_gradients([](GraphBuilder& b, ValueId x) {
    return b.conv("c", x, 6, 3, {.stride = 2, .pad = 2, .groups = 2, .bias = true});
  });
}

TEST(OpGradient, BatchNorm) {
  const auto body = [](GraphBuilder& b, ValueId x) { return b.batch_norm("bn", x); };
  expect_gradients(body);
  expect_gradients(body, Mode::kEval);
}

TEST(OpGradient, Activations) {
  for (const ActivationKind kind : {ActivationKind::kRelu, ActivationKind::kSigmoid, ActivationKind::kTanh}) {
    expect_gradients([&](GraphBuilder& b, ValueId x) { return b.activation(kind, b.scale(x, 1, 0.003f)); });
  }
}

TEST(OpGradient, ReluMask) {
  expect_gradients([](GraphBuilder& b, ValueId x) {
    return b.graph().add_node("relu", ReluMask{}, {b.scale(x, 1, 0.003f)})[0];
  });
}

TEST(OpGradient, AddAndMultiplyOfOneValueTwice) {
  expect_gradients([](GraphBuilder& b, ValueId x) { return b.add(x, b.multiply(x, x)); });
  expect_gradients([](GraphBuilder& b, ValueId x) { return b.add(x, x); });
}

TEST(OpGradient, ThreeUsesOfOneValue) {
  expect_gradients([](GraphBuilder& b, ValueId x) {
    const ValueId y = b.batch_norm("bn", x);
    return b.add(b.multiply(b.activation(ActivationKind::kSigmoid, y), y), b.scale(y, -0.5f, 1));
  });
}

TEST(OpGradient, ShortcutA) {
  for (const ZeroChannels zeros : {ZeroChannels::kBothSides, ZeroChannels::kEnd}) {
    expect_gradients([&](GraphBuilder& b, ValueId x) { return b.shortcut_a(x, 2, 8, zeros); });
  }
}

TEST(OpGradient, ConcatOfUnequalParts) {
  expect_gradients([](GraphBuilder& b, ValueId x) {
    const ValueId y = b.conv("c", x, 2, 1, {});
    return b.concat({y, x, b.activation(ActivationKind::kTanh, y)});
  });
}

TEST(OpGradient, Slice) {
  expect_gradients([](GraphBuilder& b, ValueId x) {
    return b.graph().add_node("slice", Slice{1, 2}, {x})[0];
  });
}

TEST(OpGradient, Pools) {
  expect_gradients([](GraphBuilder& b, ValueId x) { return b.max_pool(x, 3, 2, 1); });
  expect_gradients([](GraphBuilder& b, ValueId x) { return b.avg_pool(x, 3, 2, 1); });
  expect_gradients([](GraphBuilder& b, ValueId x) { return b.global_avg_pool(x); });
}

TEST(OpGradient, Dropout) {
  expect_gradients([](GraphBuilder& b, ValueId x) { return b.dropout(x, 0.4f); });
}

TEST(OpGradient, BlockGate) {
  for (uint32_t block = 0; block < 4; ++block) {
    expect_gradients([&](GraphBuilder& b, ValueId x) { return b.add(x, b.block_gate(x, {block, 4, 2})); });
  }
}

TEST(OpGradient, HighwayLayer) {
  expect_gradients([](GraphBuilder& b, ValueId x) {
    const ValueId h = b.activation(ActivationKind::kTanh, b.conv("h", x, 4, 3, {.pad = 1, .bias = true}));
    const ValueId t = b.conv("t", x, 4, 3, {.pad = 1, .bias = true, .bias_init = -1});
    const ValueId gate = b.activation(ActivationKind::kSigmoid, t);
    return b.add(b.multiply(gate, h), b.multiply(b.scale(gate, -1, 1), x));
  });
}

TEST(OpGradient, ResidualBlock) {
  expect_gradients([](GraphBuilder& b, ValueId x) {
    ValueId y = b.activation(ActivationKind::kTanh, b.batch_norm("bn1", b.conv("c1", x, 4, 3, {.pad = 1})));
    y = b.batch_norm("bn2", b.conv("c2", y, 4, 3, {.pad = 1}));
    return b.activation(ActivationKind::kSigmoid, b.add(y, x));
  });
}

TEST(OpGradient, BatchNormOfAWideConvolutionFromItsGramMatrix) {
  const Graph forward = forward_graph({3, 5, 4, 4}, Mode::kTrain, [](GraphBuilder& b, ValueId x) {
    ValueId y = b.batch_norm("bn1", b.conv("c1", x, 9, 1, {}));
    y = b.activation(ActivationKind::kSigmoid, y);
    return b.activation(ActivationKind::kTanh, b.batch_norm("bn2", b.conv("c2", y, 18, 1, {})));
  });
  expect_gradients(forward, [](Graph graph) {
    graph = gram_batch_norm(std::move(graph));
    EXPECT_EQ(std::count_if(graph.nodes.begin(), graph.nodes.end(),
                            [](const Node& node) { return std::holds_alternative<Gram>(node.op); }),
              2);
    return graph;
  });
}

TEST(OpGradient, HighwayGate) {
  expect_gradients([](GraphBuilder& b, ValueId x) {
    const ValueId gate = b.activation(ActivationKind::kSigmoid, b.conv("gate", x, 4, 1, {.bias = true}));
    const ValueId body =
        b.activation(ActivationKind::kTanh, b.conv("body", x, 4, 3, {.pad = 1, .bias = true}));
    return b.add(b.multiply(gate, body), b.multiply(b.scale(gate, -1, 1), x));
  });
}

}  // namespace
}  // namespace residuum
