// The layer table of a model: shapes, parameters, multiply-accumulates and activation bytes.
// Numbers are those of the graph as built: build it with batch 1 for the papers' numbers per image.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/core/tensor.h"
#include "engine/graph/graph.h"

namespace residuum {

/// One layer: the forward nodes of one name, such as the statistics and the application of a batch norm.
struct LayerSummary {
  std::string name;       ///< "layer1.0.conv1"
  std::string operation;  ///< of its first node: "conv", "batch_norm", "relu", "add", ...
  Shape output;
  int64_t parameters = 0;        ///< learned elements; those of a shared parameter count where first used
  int64_t macs = 0;              ///< of convolutions and fully connected layers, as the papers count
  int64_t activation_bytes = 0;  ///< of everything its nodes write
};

struct Summary {
  std::string model;
  int64_t parameters = 0, macs = 0, activation_bytes = 0;
  std::vector<LayerSummary> layers;  ///< in execution order
};

/// Summary of the forward nodes of `graph`.
Summary summarize(const Graph& graph, std::string model);

/// Aligned table with a last line of totals.
std::string to_text(const Summary& summary);

/// {"model", "parameters", "macs", "activation_bytes", "layers": [{"name", "operation", "output": [n, h, w,
/// c], "parameters", "macs", "activation_bytes"}]}, indented by two spaces.
std::string to_json(const Summary& summary);

}  // namespace residuum
