#include "tests/support/gradients.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/graph/autodiff.h"
#include "engine/graph/passes.h"
#include "models/zoo.h"
#include "tests/support/compare.h"
#include "tests/support/graph_run.h"
#include "tests/support/random_tensor.h"

namespace residuum {

using reference::Tensors;

Graph differentiated(const char* model, bool repeat) {
  ModelOptions options;
  options.batch = 2;
  options.image_size = 8;
  Graph graph = differentiate(build_model(model, options));
  for (const auto& [parameter, gradient] : graph.gradients)
    graph.outputs["gradient." + graph.value(parameter).name] = gradient;
  return repeat ? rematerialize(std::move(graph)) : graph;
}

int64_t count(const Graph& graph, std::string_view op) {
  return std::count_if(graph.nodes.begin(), graph.nodes.end(),
                       [&](const Node& node) { return op_name(node.op) == op; });
}

namespace {

/// Every value a graph computes from the same random inputs and parameters.
Tensors evaluated(const Graph& graph) {
  Tensors values(graph.values.size());
  for (size_t id = 0; id < graph.values.size(); ++id) {
    const Value& value = graph.values[id];
    if (!value.persistent()) continue;
    if (value.name == "images")
      values[id] = integer_tensor(value.desc.shape, 1, 256);
    else if (value.name == "labels")
      values[id] = integer_tensor(value.desc.shape, 2, 10);
    else
      values[id] = uniform_tensor(value.desc.shape, id);
  }
  run_reference(graph, values, {});
  return values;
}

}  // namespace

void expect_same_gradients(const Graph& graph, const Graph& changed) {
  const Tensors expected = evaluated(graph), found = evaluated(changed);
  ASSERT_EQ(changed.gradients.size(), graph.gradients.size());
  for (const auto& [parameter, gradient] : graph.gradients) {
    const ValueId again = changed.gradients.at(parameter);
    EXPECT_TRUE(matches(found[static_cast<size_t>(again)], expected[static_cast<size_t>(gradient)], kExact))
        << graph.value(parameter).name;
  }
}

}  // namespace residuum
