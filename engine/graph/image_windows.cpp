#include "engine/graph/image_windows.h"

#include <algorithm>

#include "engine/core/check.h"

namespace residuum {

Graph add_image_windows(Graph graph) {
  const std::optional<ValueId> images = graph.find("images");
  check(images.has_value(), ErrorKind::kInternal, "the graph has no input 'images'");
  const auto [n, h, w, c] = Nhwc::of(graph.desc(*images).shape);
  const ValueId windows = graph.add_persistent("windows", {DType::kI32, {n, 3}}, ValueKind::kInput);
  const ValueId cropped = graph.add_node("windows", CropFlip{h, w}, {*images, windows})[0];
  std::vector<Node> nodes = std::move(graph.nodes);
  std::rotate(nodes.begin(), nodes.end() - 1, nodes.end());
  for (auto node = nodes.begin() + 1; node != nodes.end(); ++node)
    std::replace(node->inputs.begin(), node->inputs.end(), *images, cropped);
  graph.set_nodes(std::move(nodes));
  return graph;
}

}  // namespace residuum
