// One node as a graph of its own on a backend, for tests of what computes it.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/support/graph_run.h"

namespace residuum {

/// The first result of the node; the test fails when something was written past the end of a value.
inline reference::Tensor run_node(Backend& backend, const Op& op,
                                  const std::vector<std::pair<DType, reference::Tensor>>& inputs) {
  Graph graph;
  std::vector<ValueId> ids;
  for (const auto& [type, value] : inputs) {
    ids.push_back(
        graph.add_persistent("input" + std::to_string(ids.size()), {type, value.shape}, ValueKind::kInput));
  }
  const ValueId dst = graph.add_node("node", op, ids)[0];
  graph.outputs["dst"] = dst;
  GraphRun run(graph, backend, Grouping::kSeparate);
  for (size_t i = 0; i < ids.size(); ++i) run.write(ids[i], inputs[i].second);
  run.run({});
  EXPECT_EQ(run.overruns(), std::vector<std::string>{});
  return run.read(dst);
}

}  // namespace residuum
