#include "engine/backend/backend_passes.h"

namespace residuum {

TrainingPassOptions backend_passes(const Backend& backend) {
  TrainingPassOptions options;
  options.relu_masks = options.weight_copies = backend.wants_weight_copies();
  if (!backend.fusions().empty()) {
    options.absorbs = [&backend](const Graph& graph, NodeId reader, size_t input) {
      return backend.absorbs(graph, reader, input);
    };
    options.filter_layers = [&backend](const Graph& graph, NodeId filter) {
      return backend.filter_layers(graph, filter);
    };
  }
  options.groups = [&backend](const Graph& graph) { return backend.groups(graph); };
  return options;
}

}  // namespace residuum
