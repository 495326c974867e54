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
Ids twins(Graph& graph, const Ids& of, const std::string& prefix, ValueKind kind = ValueKind::kOptimizer) {
  Ids result;
  for (ValueId id : of) {
    const TensorDesc desc = graph.desc(id);
    result.push_back(graph.add_persistent(prefix + "." + graph.value(id).name, desc, kind));
  }
  return result;
}

ValueId running(const Graph& graph, const Node& stats, const char* suffix) {
  const auto id = graph.find(stats.name + suffix);
  check(id.has_value(), ErrorKind::kInternal, "batch norm '{}' has no persistent value '{}{}'", stats.name,
        stats.name, suffix);
  return *id;
}

/// The batch norms of a graph: batch statistics and the running ones that follow them, entry by entry.
struct Norms {
  explicit Norms(const Graph& graph) {
    for (const Node& node : graph.nodes) {
      if (!std::holds_alternative<BatchNormStats>(node.op)) continue;
      const TensorDesc& src = graph.desc(node.inputs[0]);
      means.push_back(node.outputs[0]);
      variances.push_back(node.outputs[1]);
      running_means.push_back(running(graph, node, ".running_mean"));
      running_variances.push_back(running(graph, node, ".running_var"));
      counts.push_back(src.elements() / src.shape[src.shape.rank() - 1]);
    }
  }

  Ids means, variances, running_means, running_variances;
  std::vector<int64_t> counts;
};

void append_commit(Graph& graph, const Norms& norms, ValueId norm, float momentum, Phase phase,
                   float scale = 1) {
  if (norms.means.empty()) return;
  graph.add_node("batch_norm", BatchNormCommit{momentum, scale, norms.counts},
                 join({{norm}, norms.means, norms.variances, norms.running_means, norms.running_variances}),
                 phase);
}

/// Adds each micro-step's `values` to sums called after `names`, one micro-step after the other, or in pairs:
/// level l adds what level l - 1 has for 2^l micro-steps, on the last of them. Returns the sums.
Ids append_sums(Graph& graph, Ids values, const Ids& names, int micro_steps, bool in_pairs) {
  if (!in_pairs) {
    const Ids sums = twins(graph, names, "accumulated", ValueKind::kSum);
    graph.add_node("gradients", AccumulateGradient{}, join({values, sums}), Phase::kAccumulate);
    return sums;
  }
  for (uint32_t level = 0; (1 << level) < micro_steps; ++level) {
    const Ids sums = twins(graph, names, fmt::format("accumulated{}", level), ValueKind::kSum);
    const AccumulateGradient op{.restart = 1u << level, .when = (1u << level) - 1};
    graph.add_node("gradients", op, join({values, sums}), Phase::kAccumulate);
    values = sums;
  }
  return values;
}

/// Sums of gradients and of batch statistics over the micro-steps; the statistics are then committed once a
/// step.
void pool(Graph& graph, Ids& gradients, const Ids& weights, Norms& norms, const UpdateOptions& options) {
  if (options.accumulation == 1) return;
  const Ids sums = append_sums(graph, join({gradients, norms.means, norms.variances}),
                               join({weights, norms.running_means, norms.running_variances}),
                               options.accumulation, options.in_pairs);
  const auto part = [&](size_t first, size_t count) {
    const auto begin = sums.begin() + static_cast<std::ptrdiff_t>(first);
    return Ids(begin, begin + static_cast<std::ptrdiff_t>(count));
  };
  const size_t layers = norms.means.size();
  norms.means = part(gradients.size(), layers);
  norms.variances = part(gradients.size() + layers, layers);
  gradients = part(0, gradients.size());
}

}  // namespace

float gradient_scale(const UpdateOptions& options) {
  return 1.0f /
         (static_cast<float>(options.accumulation) * static_cast<float>(options.ranks) * options.loss_scale);
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
  Norms norms(graph);
  const bool pooled = options.ranks > 1 || options.in_pairs,
             each_micro_step = !pooled && options.accumulation > 1;
  if (pooled) {
    pool(graph, gradients, weights, norms, options);
  } else if (each_micro_step) {
    const ValueId finite =
        graph.add_node("loss", GradientNorm{}, {graph.output("loss")}, Phase::kAccumulate)[0];
    append_commit(graph, norms, finite, options.batch_norm_momentum, Phase::kAccumulate);
    gradients = append_sums(graph, gradients, weights, options.accumulation, false);
  }
  const ValueId norm = graph.add_node("gradients", GradientNorm{}, gradients, Phase::kUpdate)[0];
  graph.outputs["norm"] = norm;
  graph.add_node("weights", sgd, join({{norm}, weights, twins(graph, weights, "momentum"), gradients}),
                 Phase::kUpdate);
  if (!each_micro_step) {
    const float scale = 1.0f / static_cast<float>(options.ranks * options.accumulation);
    append_commit(graph, norms, norm, options.batch_norm_momentum, Phase::kUpdate, pooled ? scale : 1.0f);
  }
  if (options.ema_decay > 0) {
    // Statistics of the weights as they are would not fit the averaged ones (torchvision: use_buffers).
    const Ids averaged = join({weights, norms.running_means, norms.running_variances});
    graph.add_node("weights", EmaUpdate{options.ema_decay},
                   join({{norm}, averaged, twins(graph, averaged, "ema")}), Phase::kUpdate);
  }
  return graph;
}

}  // namespace residuum
