#include "engine/lab/lesion.h"

#include <algorithm>

#include "engine/core/check.h"
#include "engine/lab/draw.h"
#include "engine/train/training_setup.h"

namespace residuum {
namespace {

bool every_block_has_gates(const Graph& graph) {
  if (graph.blocks.empty()) return false;
  for (size_t block = 0; block < graph.blocks.size(); ++block) {
    if (!find_gates(graph, static_cast<int>(block))) return false;
  }
  return true;
}

std::vector<LesionTarget> layer_targets(const Graph& graph) {
  std::vector<LesionTarget> targets;
  for (const Layer& layer : find_layers(graph)) {
    if (graph.desc(layer.input) != graph.desc(layer.output)) continue;
    targets.push_back({layer.name, false, [name = layer.name](Graph g) {
                         const std::vector<Layer> layers = find_layers(g);
                         const auto found = std::find_if(layers.begin(), layers.end(),
                                                         [&](const Layer& l) { return l.name == name; });
                         check(found != layers.end(), ErrorKind::kInternal, "layer {} is gone", name);
                         return delete_layer(std::move(g), *found);
                       }});
  }
  return targets;
}

int64_t pixels_of(const Shape& shape) {
  return shape.elements() / shape[shape.rank() - 1];
}

std::vector<LesionTarget> block_targets(const Graph& graph, LesionKind kind) {
  std::vector<LesionTarget> targets;
  for (size_t i = 0; i < graph.blocks.size(); ++i) {
    const Block& block = graph.blocks[i];
    const auto index = static_cast<int>(i);
    const bool down_sampling =
        pixels_of(graph.desc(block.output).shape) < pixels_of(graph.desc(block.input).shape);
    if (kind == LesionKind::kGates && find_gates(graph, index)) {
      targets.push_back(
          {block.name, down_sampling, [index](Graph g) { return close_gates(std::move(g), index); }});
    }
    if (kind == LesionKind::kBlocks && can_delete(graph, index)) {
      targets.push_back(
          {block.name, down_sampling, [index](Graph g) { return delete_block(std::move(g), index); }});
    }
  }
  return targets;
}

std::string text_of(const Evaluation& found) {
  return fmt::format("top1 {:.2f} %", 100 * found.top1_accuracy());
}

void report_progress(const std::function<void(const std::string&)>& progress, const std::string& text) {
  if (progress) progress(text);
}

/// Every pair of equal blocks.
std::vector<std::pair<int, int>> equal_pairs(const Graph& graph) {
  std::vector<std::pair<int, int>> pairs;
  const auto count = static_cast<int>(graph.blocks.size());
  for (int a = 0; a < count; ++a) {
    for (int b = a + 1; b < count; ++b) {
      if (equal_blocks(graph, a, b)) pairs.emplace_back(a, b);
    }
  }
  return pairs;
}

}  // namespace

std::string to_string(LesionKind kind) {
  switch (kind) {
    case LesionKind::kBlocks:
      return "blocks";
    case LesionKind::kLayers:
      return "layers";
    case LesionKind::kGates:
      return "gates";
  }
  return "";
}

LesionKind natural_lesion(const Graph& graph) {
  if (every_block_has_gates(graph)) return LesionKind::kGates;
  for (size_t block = 0; block < graph.blocks.size(); ++block) {
    const Block& b = graph.blocks[block];
    const bool passes_on =
        find_join(graph, static_cast<int>(block)) || graph.desc(b.input) != graph.desc(b.output);
    if (!passes_on || !can_delete(graph, static_cast<int>(block))) return LesionKind::kLayers;
  }
  return graph.blocks.empty() ? LesionKind::kLayers : LesionKind::kBlocks;
}

std::vector<LesionTarget> lesion_targets(const Graph& graph, LesionKind kind, const std::string& model) {
  std::vector<LesionTarget> targets =
      kind == LesionKind::kLayers ? layer_targets(graph) : block_targets(graph, kind);
  const char* lacking = kind == LesionKind::kGates    ? "gates"
                        : kind == LesionKind::kLayers ? "layer whose input and output have one shape"
                                                      : "block whose output could be its input";
  check(!targets.empty(), ErrorKind::kConfig, "lesion: model {} has no {}, so none can be taken away", model,
        lacking);
  return targets;
}

LesionReport lesion(const Subject& subject, LesionKind kind, const LesionOptions& options) {
  const SampleBatches one = sample_batches(subject, 1, 1, options.seed);
  const std::vector<LesionTarget> targets =
      lesion_targets(forward_graph(subject, Mode::kEval, one), kind, subject.model);
  for (const int count : options.counts) {
    check(count >= 0 && static_cast<size_t>(count) <= targets.size(), ErrorKind::kConfig,
          "lesion: {} {} are to be taken away, model {} has {}", count, to_string(kind), subject.model,
          targets.size());
  }
  LesionReport report;
  report.kind = kind;
  report.whole = evaluate(subject, [](Graph g) { return g; });
  report_progress(options.progress, "whole net: " + text_of(report.whole));
  for (const LesionTarget& target : targets) {
    report.singles.push_back({target.name, target.down_sampling, evaluate(subject, target.operation)});
    report_progress(options.progress, target.name + ": " + text_of(report.singles.back().without));
  }
  for (const int count : options.counts) {
    report.several.push_back({count, {}});
    for (int draw = 0; draw < options.draws; ++draw) {
      RandomStream random(options.seed, RandomPurpose::kAnalysis, static_cast<uint64_t>(count),
                          static_cast<uint64_t>(draw));
      const std::vector<int> chosen = choose(static_cast<int>(targets.size()), count, random);
      report.several.back().draws.push_back(evaluate(subject, [&](Graph g) {
        for (const int i : chosen) g = targets[static_cast<size_t>(i)].operation(std::move(g));
        return g;
      }));
      report_progress(options.progress, fmt::format("{} random {}: {}", count, to_string(kind),
                                                    text_of(report.several.back().draws.back())));
    }
  }
  return report;
}

ShuffleReport shuffle_blocks(const Subject& subject, const ShuffleOptions& options) {
  const SampleBatches one = sample_batches(subject, 1, 1, options.seed);
  const Graph graph = forward_graph(subject, Mode::kEval, one);
  const std::vector<std::pair<int, int>> pairs = equal_pairs(graph);
  check(!pairs.empty(), ErrorKind::kConfig, "shuffle: model {} has no two blocks of equal shape",
        subject.model);
  ShuffleReport report;
  report.whole = evaluate(subject, [](Graph g) { return g; });
  report_progress(options.progress, "order of training: " + text_of(report.whole));
  for (const int swaps : options.swaps) {
    for (int draw = 0; draw < options.draws; ++draw) {
      RandomStream random(options.seed, RandomPurpose::kAnalysis, static_cast<uint64_t>(swaps),
                          static_cast<uint64_t>(draw));
      std::vector<std::pair<int, int>> chosen;
      std::vector<int> order(graph.blocks.size());
      for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
      for (int i = 0; i < swaps; ++i) {
        chosen.push_back(pairs[random.uniform_below(static_cast<uint32_t>(pairs.size()))]);
        std::swap(order[static_cast<size_t>(chosen.back().first)],
                  order[static_cast<size_t>(chosen.back().second)]);
      }
      ShuffleReport::Point point{swaps, kendall_tau(order), {}, evaluate(subject, [&](Graph g) {
                                   for (const auto& [a, b] : chosen) g = swap_blocks(std::move(g), a, b);
                                   return g;
                                 })};
      for (const int block : order) point.order.push_back(graph.blocks[static_cast<size_t>(block)].name);
      report_progress(options.progress, fmt::format("{} swaps, tau {:.3f}: {}", swaps, point.kendall_tau,
                                                    text_of(point.shuffled)));
      report.points.push_back(std::move(point));
    }
  }
  return report;
}

}  // namespace residuum
