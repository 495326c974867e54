// append_update: the optimizer's part of a training step.
#include "engine/core/check.h"
#include "engine/graph/passes.h"

namespace residuum {
namespace {

using Ids = std::vector<ValueId>;

Ids join(std::initializer_list<Ids> lists) {
  Ids all;
  for (const Ids& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

/// One persistent f32 twin "PREFIX.NAME" of each value.
Ids twins(Graph& graph, const Ids& of, const std::string& prefix) {
  Ids result;
  for (ValueId id : of) {
    const TensorDesc desc = graph.desc(id);
    result.push_back(graph.add_persistent(prefix + "." + graph.value(id).name, desc, ValueKind::kOptimizer));
  }
  return result;
}

ValueId running(const Graph& graph, const Node& stats, const char* suffix) {
  const auto id = graph.find(stats.name + suffix);
  check(id.has_value(), ErrorKind::kInternal, "batch norm '{}' has no persistent value '{}{}'", stats.name,
        stats.name, suffix);
  return *id;
}

void append_commit(Graph& graph, ValueId norm, float momentum, Phase phase) {
  Ids means, variances, running_means, running_variances;
  BatchNormCommit op{momentum, {}};
  for (const Node& node : graph.nodes) {
    if (!std::holds_alternative<BatchNormStats>(node.op)) continue;
    const TensorDesc& src = graph.desc(node.inputs[0]);
    means.push_back(node.outputs[0]);
    variances.push_back(node.outputs[1]);
    running_means.push_back(running(graph, node, ".running_mean"));
    running_variances.push_back(running(graph, node, ".running_var"));
    op.counts.push_back(src.elements() / src.shape[src.shape.rank() - 1]);
  }
  if (means.empty()) return;
  graph.add_node("batch_norm", op, join({{norm}, means, variances, running_means, running_variances}), phase);
}

}  // namespace

float gradient_scale(const UpdateOptions& options) {
  return 1.0f / (static_cast<float>(options.accumulation) * options.loss_scale);
}

Graph append_update(Graph graph, const UpdateOptions& options) {
  Ids weights, gradients;
  SgdUpdate sgd{options.momentum, options.nesterov, options.clip_norm, gradient_scale(options), {}};
  for (const auto& [parameter, gradient] : graph.gradients) {
    if (graph.value(parameter).kind != ValueKind::kParameter) continue;
    weights.push_back(parameter);
    gradients.push_back(gradient);
    const bool decays = options.decay_norm_and_bias || graph.desc(parameter).shape.rank() > 1;
    sgd.weight_decay.push_back(decays ? options.weight_decay : 0);
  }
  if (options.accumulation > 1) {
    const ValueId finite =
        graph.add_node("loss", GradientNorm{}, {graph.output("loss")}, Phase::kAccumulate)[0];
    append_commit(graph, finite, options.batch_norm_momentum, Phase::kAccumulate);
    const Ids accumulated = twins(graph, weights, "accumulated");
    graph.add_node("gradients", AccumulateGradient{}, join({gradients, accumulated}), Phase::kAccumulate);
    gradients = accumulated;
  }
  const ValueId norm = graph.add_node("gradients", GradientNorm{}, gradients, Phase::kUpdate)[0];
  graph.outputs["norm"] = norm;
  graph.add_node("weights", sgd, join({{norm}, weights, twins(graph, weights, "momentum"), gradients}),
                 Phase::kUpdate);
  if (options.accumulation == 1) append_commit(graph, norm, options.batch_norm_momentum, Phase::kUpdate);
  if (options.ema_decay > 0) {
    graph.add_node("weights", EmaUpdate{options.ema_decay},
                   join({{norm}, weights, twins(graph, weights, "ema")}), Phase::kUpdate);
  }
  return graph;
}

}  // namespace residuum
