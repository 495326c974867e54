// Who reads each value of a graph. Invariant: it describes the graph as it was when the index was made.
#pragma once

#include <vector>

#include "engine/graph/graph.h"

namespace residuum {

class Readers {
 public:
  explicit Readers(const Graph& graph) : nodes_(graph.values.size()), is_output_(graph.values.size()) {
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      for (const ValueId id : graph.nodes[n].inputs)
        nodes_[static_cast<size_t>(id)].push_back(static_cast<NodeId>(n));
    }
    for (const auto& [name, id] : graph.outputs) is_output_[static_cast<size_t>(id)] = true;
  }

  /// The nodes that read `value`, in their order; a node that reads it twice is there twice.
  const std::vector<NodeId>& of(ValueId value) const { return nodes_[static_cast<size_t>(value)]; }
  bool is_output(ValueId value) const { return is_output_[static_cast<size_t>(value)]; }
  /// Whether `reader` reads the value, once, and nobody else wants it.
  bool only(ValueId value, NodeId reader) const {
    return !is_output(value) && of(value).size() == 1 && of(value)[0] == reader;
  }

 private:
  std::vector<std::vector<NodeId>> nodes_;
  std::vector<bool> is_output_;
};

}  // namespace residuum
