// A small graph with input data and the values to compare: what tests of joined nodes run, joined and one
// node a launch.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/support/graph_run.h"
#include "tests/support/random_tensor.h"

namespace residuum {

struct GraphChain {
  Graph graph;
  std::vector<std::pair<ValueId, reference::Tensor>> inputs;
  std::vector<ValueId> results;
  StepParams params{.seed = 5, .step = 3};

  /// Adds values to compare; an output of the graph is never internal to a launch.
  void result(const std::vector<ValueId>& ids) {
    for (const ValueId id : ids) {
      results.push_back(id);
      graph.outputs[graph.value(id).name] = id;
    }
  }
  ValueId input(const std::string& name, DType type, const reference::Tensor& value) {
    const ValueId id = graph.add_persistent(name, {type, value.shape}, ValueKind::kInput);
    inputs.emplace_back(id, rounded_to(type, value));
    return id;
  }
  ValueId vector(const std::string& name, int64_t channels, double low, double high) {
    return input(name, DType::kF32, uniform_tensor({channels}, inputs.size() + 1, low, high));
  }

  /// Runs the graph once; the bytes of the results.
  std::vector<std::vector<std::byte>> run(GraphRun& run) const {
    for (const auto& [id, value] : inputs) run.write(id, value);
    run.run(params);
    std::vector<std::vector<std::byte>> bytes;
    for (const ValueId id : results) bytes.push_back(run.bytes(id));
    return bytes;
  }
  /// Every value by the references.
  reference::Tensors reference_values() const {
    reference::Tensors values(graph.values.size());
    for (const auto& [id, value] : inputs) values[static_cast<size_t>(id)] = value;
    run_reference(graph, values, params);
    return values;
  }
};

}  // namespace residuum
