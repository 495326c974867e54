#include "engine/lab/responses.h"

#include "engine/core/check.h"
#include "engine/graph/passes.h"
#include "engine/lab/structure.h"

namespace residuum {
namespace {

/// A probe of the forward graph whose outputs are the values `wanted`, "0", "1", ...
Probe forward_probe(const Subject& subject, Graph graph, const std::vector<ValueId>& wanted, uint64_t seed) {
  graph.outputs = {{"loss", graph.output("loss")}};
  for (size_t i = 0; i < wanted.size(); ++i) graph.outputs[std::to_string(i)] = wanted[i];
  return Probe(prune(std::move(graph)), subject, seed);
}

/// Indices of the blocks of each stage.
std::vector<std::vector<size_t>> stages_of(const Graph& graph) {
  std::vector<std::vector<size_t>> stages;
  for (size_t i = 0; i < graph.blocks.size(); ++i) {
    const bool continues =
        i > 0 && graph.desc(graph.blocks[i].output) == graph.desc(graph.blocks[i - 1].output);
    if (!continues) stages.emplace_back();
    stages.back().push_back(i);
  }
  std::erase_if(stages, [](const std::vector<size_t>& stage) { return stage.size() < 2; });
  return stages;
}

}  // namespace

std::vector<Response> layer_responses(const Subject& subject, const SampleOptions& options) {
  const SampleBatches samples = sample_batches(subject, options.batch, options.batches, options.seed);
  const Graph graph = forward_graph(subject, options.mode, samples);
  std::vector<Response> responses;
  std::vector<ValueId> wanted;
  for (const Layer& layer : find_layers(graph)) {
    const auto* conv = std::get_if<Conv>(&graph.node(layer.weight_node).op);
    if (conv == nullptr || conv->kernel_h == 1) continue;
    responses.push_back({layer.name});
    wanted.push_back(layer.normalized);
  }
  check(!responses.empty(), ErrorKind::kConfig,
        "response: model {} has no convolution with a kernel above 1x1", subject.model);
  Probe probe = forward_probe(subject, graph, wanted, options.seed);
  std::vector<Moments> moments(responses.size());
  for (const Batch& batch : samples.batches) {
    probe.write(batch);
    probe.run();
    for (size_t i = 0; i < moments.size(); ++i) moments[i].add(probe.read(std::to_string(i)));
  }
  for (size_t i = 0; i < moments.size(); ++i) {
    responses[i].mean = moments[i].mean();
    responses[i].std = moments[i].std();
  }
  return responses;
}

std::vector<Estimate> stage_estimates(const Subject& subject, const SampleOptions& options) {
  const SampleBatches samples = sample_batches(subject, options.batch, options.batches, options.seed);
  const Graph graph = forward_graph(subject, options.mode, samples);
  const std::vector<std::vector<size_t>> stages = stages_of(graph);
  check(!stages.empty(), ErrorKind::kConfig,
        "iteration: model {} has no two successive blocks whose outputs have one shape", subject.model);
  std::vector<ValueId> wanted;
  for (const Block& block : graph.blocks) wanted.push_back(block.output);
  Probe probe = forward_probe(subject, graph, wanted, options.seed);
  std::vector<Moments> errors(graph.blocks.size()), lasts(stages.size());
  for (const Batch& batch : samples.batches) {
    probe.write(batch);
    probe.run();
    for (size_t s = 0; s < stages.size(); ++s) {
      const std::vector<float> last = probe.read(std::to_string(stages[s].back()));
      lasts[s].add(last);
      for (const size_t block : stages[s]) {
        std::vector<float> error = probe.read(std::to_string(block));
        for (size_t i = 0; i < error.size(); ++i) error[i] -= last[i];
        errors[block].add(error);
      }
    }
  }
  std::vector<Estimate> estimates;
  for (size_t s = 0; s < stages.size(); ++s) {
    for (const size_t block : stages[s]) {
      estimates.push_back({graph.blocks[block].name, static_cast<int>(s) + 1, errors[block].mean(),
                           errors[block].std(), lasts[s].std()});
    }
  }
  return estimates;
}

}  // namespace residuum
