#include "models/summary.h"

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "engine/core/json.h"
#include "engine/graph/cost.h"

namespace residuum {
namespace {

std::string operation(const Op& op) {
  const bool batch_norm =
      std::holds_alternative<BatchNormStats>(op) || std::holds_alternative<BatchNormApply>(op);
  return batch_norm ? "batch_norm" : std::string(op_name(op));
}

}  // namespace

Summary summarize(const Graph& graph, std::string model) {
  Summary summary;
  summary.model = std::move(model);
  std::set<ValueId> counted;
  for (const Node& node : graph.nodes) {
    if (node.phase != Phase::kForward) continue;
    if (summary.layers.empty() || summary.layers.back().name != node.name) {
      summary.layers.push_back({node.name, operation(node.op), {}});
    }
    LayerSummary& layer = summary.layers.back();
    layer.output = graph.desc(node.outputs.at(0)).shape;
    layer.macs += node_macs(graph, node);
    for (const ValueId id : node.outputs)
      layer.activation_bytes += static_cast<int64_t>(graph.desc(id).bytes());
    for (const ValueId id : node.inputs) {
      const bool fresh = graph.value(id).kind == ValueKind::kParameter && counted.insert(id).second;
      if (fresh) layer.parameters += graph.desc(id).elements();
    }
  }
  for (const LayerSummary& layer : summary.layers) {
    summary.parameters += layer.parameters;
    summary.macs += layer.macs;
    summary.activation_bytes += layer.activation_bytes;
  }
  return summary;
}

std::string to_text(const Summary& summary) {
  size_t name_width = summary.model.size();
  size_t operation_width = 0;
  for (const LayerSummary& layer : summary.layers) {
    name_width = std::max(name_width, layer.name.size());
    operation_width = std::max(operation_width, layer.operation.size());
  }
  const auto line = [&](const auto& name, const auto& op, const auto& output, const auto&... numbers) {
    std::string text = fmt::format("{:<{}}  {:<{}}  {:<20}", name, name_width, op, operation_width, output);
    (text.append(fmt::format(" {:>16}", numbers)), ...);
    return text + "\n";
  };
  std::string text = line("layer", "operation", "output", "parameters", "MACs", "activation bytes");
  for (const LayerSummary& layer : summary.layers) {
    text += line(layer.name, layer.operation, to_string(layer.output), layer.parameters, layer.macs,
                 layer.activation_bytes);
  }
  return text + line(summary.model, "total", "", summary.parameters, summary.macs, summary.activation_bytes);
}

std::string to_json(const Summary& summary) {
  nlohmann::ordered_json json{{"model", summary.model},
                              {"parameters", summary.parameters},
                              {"macs", summary.macs},
                              {"activation_bytes", summary.activation_bytes},
                              {"layers", nlohmann::ordered_json::array()}};
  for (const LayerSummary& layer : summary.layers) {
    std::vector<int64_t> extents;
    for (int i = 0; i < layer.output.rank(); ++i) extents.push_back(layer.output[i]);
    json["layers"].push_back({{"name", layer.name},
                              {"operation", layer.operation},
                              {"output", extents},
                              {"parameters", layer.parameters},
                              {"macs", layer.macs},
                              {"activation_bytes", layer.activation_bytes}});
  }
  return json_text(json, 2);
}

}  // namespace residuum
