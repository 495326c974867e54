#include "engine/graph/passes.h"

#include <algorithm>

#include "engine/core/check.h"
#include "engine/graph/autodiff.h"

namespace residuum {

Graph prune(Graph graph) {
  std::vector<bool> used(graph.values.size());
  for (const auto& [name, id] : graph.outputs) used[static_cast<size_t>(id)] = true;
  std::vector<Node> kept;
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    const bool effect = node->outputs.empty();  // updates change persistent values
    const bool wanted = std::any_of(node->outputs.begin(), node->outputs.end(),
                                    [&](ValueId id) { return used[static_cast<size_t>(id)]; });
    if (!effect && !wanted) continue;
    for (ValueId id : node->inputs) used[static_cast<size_t>(id)] = true;
    kept.push_back(std::move(*node));
  }
  std::reverse(kept.begin(), kept.end());
  graph.set_nodes(std::move(kept));
  std::erase_if(graph.gradients, [&](const auto& entry) {
    const Value& gradient = graph.value(entry.second);
    return !gradient.persistent() && gradient.producer == kNone;
  });
  return graph;
}

Graph run_passes(Graph graph, const std::vector<Pass>& passes, const std::set<std::string>& off) {
  for (const std::string& name : off) {
    const bool known =
        std::any_of(passes.begin(), passes.end(), [&](const Pass& pass) { return pass.name == name; });
    if (known) continue;
    std::string names;
    for (const Pass& pass : passes) names += (names.empty() ? "" : ", ") + pass.name;
    fail(ErrorKind::kUsage, "there is no pass '{}' to switch off; the passes are: {}", name, names);
  }
  for (const Pass& pass : passes) {
    if (off.contains(pass.name)) continue;
    graph = pass.run(std::move(graph));
    graph.validate(pass.name);
  }
  return graph;
}

std::vector<Pass> training_passes(const TrainingPassOptions& options) {
  std::vector<Pass> passes;
  passes.push_back(
      {"autodiff", "append the backward nodes",
       [scale = options.update.loss_scale](Graph g) { return differentiate(std::move(g), {}, scale); },
       true});
  passes.push_back({"update", "append optimizer and running statistics",
                    [update = options.update](Graph g) { return append_update(std::move(g), update); },
                    true});
  if (options.gram_batch_norm) {
    passes.push_back({"gram_batch_norm",
                      "batch norms of wide 1x1 convolutions from the Gram matrix of their input",
                      gram_batch_norm});
  }
  if (options.recompute) {
    passes.push_back(
        {"recompute", "keep one tensor per block, repeat the rest in the backward pass", recompute_blocks});
  }
  passes.push_back({"rematerialize", "repeat cheap nodes in the backward pass", rematerialize});
  if (options.relu_masks) {
    passes.push_back(
        {"relu_masks", "one bit an element in place of ReLU outputs kept for the backward pass", relu_masks});
  }
  if (options.weight_copies || options.gram_batch_norm) {
    passes.push_back({"weight_copies", "read weights in the activations' 16-bit type, kept by the optimizer",
                      weight_copies, options.gram_batch_norm});
  }
  if (options.sync_batch_norm && options.update.ranks > 1) {
    passes.push_back(
        {"sync_batch_norm", "batch norms over the batches of all ranks",
         [ranks = options.update.ranks](Graph g) { return sync_batch_norm(std::move(g), ranks); }, true});
  }
  if (options.absorbs) {
    passes.push_back({"reader_copies", "let each launch form the tensors it reads from stored ones",
                      [rule = options.absorbs](Graph g) { return reader_copies(std::move(g), rule); }});
    passes.push_back({"neighbours", "bring nodes together that one launch can compute", neighbours});
  }
  if (options.filter_layers) {
    passes.push_back({"equal_filters", "bring the weight gradients of equal small layers together",
                      [rule = options.filter_layers](Graph g) { return equal_filters(std::move(g), rule); }});
  }
  passes.push_back({"prune", "drop unused nodes", prune});
  if (options.update.ranks > 1) {
    passes.push_back({"communicate", "add the gradients of all ranks, in buckets beside the backward pass",
                      [bytes = options.bucket_bytes, groups = options.groups](Graph g) {
                        return communicate(std::move(g), bytes, groups);
                      },
                      true});
  }
  return passes;
}

}  // namespace residuum
