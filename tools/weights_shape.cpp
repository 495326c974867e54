#include "tools/weights_shape.h"

#include <algorithm>
#include <cmath>

#include "engine/core/check.h"
#include "engine/train/weights.h"
#include "models/recipe_model.h"

namespace residuum {
namespace {

template <typename OpType>
bool has_op(const Node& node) {
  return std::holds_alternative<OpType>(node.op);
}

const StoredTensor& weight_of(const Graph& graph, const Node& node, const SafetensorsFile& file) {
  const std::string& name = graph.value(node.inputs.at(1)).name;
  const StoredTensor* tensor = find_weight(file, name);
  check(tensor != nullptr && tensor->shape.size() >= 2, ErrorKind::kCheckpoint,
        "{} has no weights '{}': it is not of the model asked for", file.name(), name);
  return *tensor;
}

}  // namespace

WeightsShape weights_shape(const Recipe& recipe, const SafetensorsFile& weights) {
  // Size and classes are the model's own: neither changes the names.
  const GraphRequest request = published_request(recipe, Mode::kEval, 1);
  const Graph graph = model_builder(recipe)(request);
  const auto first_conv = std::find_if(graph.nodes.begin(), graph.nodes.end(), has_op<Conv>);
  const auto last_linear = std::find_if(graph.nodes.rbegin(), graph.nodes.rend(), has_op<Linear>);
  check(last_linear != graph.nodes.rend(), ErrorKind::kInternal, "model {} has no fully connected layer",
        recipe.model.name);
  const ImageShape& own = request.image;
  WeightsShape shape{own.channels, weight_of(graph, *last_linear, weights).shape.at(0), own.height};
  if (first_conv != graph.nodes.end()) {
    shape.channels = weight_of(graph, *first_conv, weights).shape.at(1);
  } else {
    const auto first_linear = std::find_if(graph.nodes.begin(), graph.nodes.end(), has_op<Linear>);
    const int64_t inputs = weight_of(graph, *first_linear, weights).shape.at(1);
    shape.size = static_cast<int>(std::lround(std::sqrt(static_cast<double>(inputs / own.channels))));
  }
  return shape;
}

}  // namespace residuum
