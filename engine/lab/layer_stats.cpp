#include "engine/lab/layer_stats.h"

#include <algorithm>

#include "engine/core/check.h"
#include "engine/graph/autodiff.h"
#include "engine/graph/passes.h"
#include "engine/lab/short_training.h"

namespace residuum {

/// A differentiated graph and what is read of it.
struct LayerProbe::Plan {
  std::vector<Layer> layers;
  std::vector<std::string> weights;
  std::vector<Join> joins;
  std::vector<std::string> blocks;
  Graph graph;
};

namespace {

std::string key(const char* what, size_t index) {
  return fmt::format("{}.{}", what, index);
}

/// Names a value's gradient as an output, when the loss depends on the value.
void expose_gradient(Graph& graph, const std::string& name, ValueId value) {
  const auto found = graph.gradients.find(value);
  if (found != graph.gradients.end()) graph.outputs[name] = found->second;
}

}  // namespace

LayerProbe::Plan LayerProbe::plan_of(const Subject& subject, Graph forward) {
  Plan plan;
  plan.layers = find_layers(forward);
  plan.joins = find_joins(forward);
  check(!plan.layers.empty(), ErrorKind::kConfig, "gradients: model {} has no layer with weights",
        subject.model);
  std::vector<ValueId> wanted;
  for (const Layer& layer : plan.layers) wanted.push_back(layer.output);
  for (const Join& join : plan.joins) {
    plan.blocks.push_back(forward.blocks[static_cast<size_t>(join.block)].name);
    wanted.push_back(forward.blocks[static_cast<size_t>(join.block)].output);
  }
  Graph graph = differentiate(std::move(forward), wanted, loss_scale_of(subject));
  graph.outputs = {{"loss", graph.output("loss")}};
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const ValueId weight = graph.node(plan.layers[i].weight_node).inputs[1];
    plan.weights.push_back(graph.value(weight).name);
    graph.outputs[key("y", i)] = plan.layers[i].output;
    expose_gradient(graph, key("dy", i), plan.layers[i].output);
    expose_gradient(graph, key("dw", i), weight);
  }
  for (size_t i = 0; i < plan.joins.size(); ++i) {
    const Join& join = plan.joins[i];
    const ValueId output = graph.blocks[static_cast<size_t>(join.block)].output;
    graph.outputs[key("branch", i)] = graph.node(join.node).inputs[join.branch];
    graph.outputs[key("skip", i)] = graph.node(join.node).inputs[join.skip];
    graph.outputs[key("stream", i)] = output;
    expose_gradient(graph, key("dstream", i), output);
  }
  plan.graph = prune(std::move(graph));
  return plan;
}

LayerProbe::LayerProbe(const Subject& subject, SampleBatches samples, uint64_t seed)
    : LayerProbe(plan_of(subject, forward_graph(subject, Mode::kTrain, samples)), subject, samples, seed) {}

LayerProbe::LayerProbe(Plan plan, const Subject& subject, SampleBatches samples, uint64_t seed)
    : subject_(subject),
      samples_(std::move(samples)),
      layers_(std::move(plan.layers)),
      weights_(std::move(plan.weights)),
      joins_(std::move(plan.joins)),
      blocks_(std::move(plan.blocks)),
      probe_(std::move(plan.graph), subject, seed) {}

double LayerProbe::norm(const std::string& output) {
  Moments moments;
  moments.add(probe_.read(output));
  return moments.norm();
}

double LayerProbe::gradient_norm(const std::string& output) {
  if (!probe_.graph().outputs.contains(output)) return 0;
  return norm(output) / static_cast<double>(loss_scale_of(subject_));
}

void LayerProbe::add(NetStats& stats, const Batch& batch, double weight) {
  probe_.write(batch);
  probe_.run();
  stats.loss += weight * static_cast<double>(probe_.read("loss")[0]);
  for (size_t i = 0; i < layers_.size(); ++i) {
    LayerStats& layer = stats.layers[i];
    Moments output;
    output.add(probe_.read(key("y", i)));
    layer.output += weight * output.norm();
    layer.output_mean += weight * output.mean();
    layer.output_std += weight * output.std();
    layer.output_gradient += weight * gradient_norm(key("dy", i));
    layer.weight_gradient += weight * gradient_norm(key("dw", i));
  }
  for (size_t i = 0; i < joins_.size(); ++i) {
    BlockStats& block = stats.blocks[i];
    Moments stream;
    stream.add(probe_.read(key("stream", i)));
    block.stream_std += weight * stream.std();
    block.branch_over_skip += weight * norm(key("branch", i)) / norm(key("skip", i));
    block.gradient += weight * gradient_norm(key("dstream", i));
  }
}

NetStats LayerProbe::look(int64_t step) {
  NetStats stats;
  stats.step = step;
  for (size_t i = 0; i < layers_.size(); ++i) {
    Moments weight;
    weight.add(subject_.state.read_floats(weights_[i]));
    stats.layers.push_back({layers_[i].name, weight.norm()});
  }
  for (const std::string& block : blocks_) stats.blocks.push_back({block});
  for (const Batch& batch : samples_.batches) {
    add(stats, batch, 1 / static_cast<double>(samples_.batches.size()));
  }
  // The last layer is the classifier; a gradient of 0 is of a block closed for this step.
  for (size_t i = std::max<size_t>(layers_.size(), 2) - 1; i-- > 0;) {
    if (stats.layers[i].weight_gradient == 0) continue;
    stats.first_over_last = stats.layers.front().weight_gradient / stats.layers[i].weight_gradient;
    break;
  }
  return stats;
}

std::vector<NetStats> layer_statistics(const Subject& subject, const GradientOptions& options) {
  LayerProbe probe(subject, sample_batches(subject, options.batch, options.batches, options.seed),
                   options.seed);
  std::vector<NetStats> looks;
  const auto look = [&](int64_t step) {
    looks.push_back(probe.look(step));
    if (options.progress) {
      options.progress(fmt::format("step {}: loss {:.4f}, first over last gradient {:.3e}", step,
                                   looks.back().loss, looks.back().first_over_last));
    }
  };
  look(0);
  if (options.steps == 0) return looks;
  ShortTraining training(subject);
  for (int64_t step = 1; step <= options.steps; ++step) {
    training.step();
    if (step % options.every == 0 || step == options.steps) look(step);
  }
  return looks;
}

}  // namespace residuum
