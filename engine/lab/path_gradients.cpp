#include "engine/lab/path_gradients.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/core/check.h"
#include "engine/lab/draw.h"
#include "engine/lab/path_gates.h"
#include "engine/lab/surgery.h"

namespace residuum {
namespace {

ValueId normalized_images(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    if (std::holds_alternative<Normalize>(node.op)) return node.outputs[0];
  }
  fail(ErrorKind::kInternal, "the graph does not normalise its images");
}

std::vector<std::string> block_names(const Graph& graph, const std::vector<Join>& joins) {
  std::vector<std::string> names;
  for (const Join& join : joins) names.push_back(graph.blocks[static_cast<size_t>(join.block)].name);
  return names;
}

double norm_of(const std::vector<float>& values) {
  Moments moments;
  moments.add(values);
  return moments.norm();
}

/// Of the paths of one length.
struct Norms {
  void add(double norm) {
    moments.add(norm);
    lowest = std::min(lowest, norm);
    highest = std::max(highest, norm);
  }
  Moments moments;
  double lowest = INFINITY, highest = 0;
};

/// Slope of the least-squares line through ln(norm) against the length, of norms above 0.
double log_slope(const std::vector<PathReport::Length>& lengths) {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (const PathReport::Length& length : lengths) {
    if (!(length.mean_norm > 0)) continue;
    const double k = length.modules, v = std::log(length.mean_norm);
    n += 1;
    x += k;
    y += v;
    xx += k * k;
    xy += k * v;
  }
  const double spread = n * xx - x * x;
  return spread > 0 ? (n * xy - x * y) / spread : 0;
}

}  // namespace

PathProbe::PathProbe(const Subject& subject, const SampleBatches& samples, uint64_t seed)
    : PathProbe(subject, open_blocks(forward_graph(subject, Mode::kTrain, samples)), seed) {}

PathProbe::PathProbe(const Subject& subject, const Graph& forward, uint64_t seed)
    : loss_scale_(loss_scale_of(subject)),
      names_(block_names(forward, require_joins(forward, subject.model, "paths"))),
      probe_(path_gradient_graph(forward, find_joins(forward), {{"images", normalized_images(forward)}},
                                 loss_scale_),
             subject, seed) {
  for (const auto& [name, id] : probe_.graph().persistent_names) {
    if (name.starts_with("unit.")) probe_.fill(name, 1);
  }
}

std::vector<float> PathProbe::run() {
  probe_.run();
  std::vector<float> gradient = probe_.read("d.images");
  for (float& value : gradient) value /= loss_scale_;
  return gradient;
}

std::vector<float> PathProbe::along(const std::vector<int>& branches) {
  const std::set<int> chosen(branches.begin(), branches.end());
  for (size_t i = 0; i < names_.size(); ++i) {
    const bool branch = chosen.contains(static_cast<int>(i));
    probe_.fill("branch_gate." + names_[i], branch ? 1 : 0);
    probe_.fill("skip_gate." + names_[i], branch ? 0 : 1);
  }
  return run();
}

std::vector<float> PathProbe::whole() {
  for (const std::string& name : names_) {
    probe_.fill("branch_gate." + name, 1);
    probe_.fill("skip_gate." + name, 1);
  }
  return run();
}

void summarize_paths(PathReport& report) {
  double largest = -INFINITY, sum = 0;
  for (PathReport::Length& length : report.lengths) {
    length.log_total =
        report.count.by_modules[static_cast<size_t>(length.modules)].log() + std::log(length.mean_norm);
    largest = std::max(largest, length.log_total);
  }
  for (PathReport::Length& length : report.lengths) {
    length.share = std::exp(length.log_total - largest);
    sum += length.share;
  }
  constexpr double kTail = 0.025;
  double below = 0;
  bool low_found = false;
  for (PathReport::Length& length : report.lengths) {
    length.share /= sum;
    const double before = below;
    below += length.share;
    if (!low_found && below > kTail) {
      report.effective_low = length.modules;
      low_found = true;
    }
    if (before < 1 - kTail) report.effective_high = length.modules;
  }
  report.share_of_paths =
      share_of_paths(report.count.by_modules, report.effective_low, report.effective_high);
  report.factor_per_module = std::exp(log_slope(report.lengths));
}

PathReport sample_paths(const Subject& subject, const PathOptions& options) {
  const SampleBatches samples = sample_batches(subject, options.batch, options.batches, options.seed);
  PathReport report;
  report.count = count_paths(forward_graph(subject, Mode::kEval, samples));
  PathProbe probe(subject, samples, options.seed);
  std::vector<int> lengths = options.lengths;
  for (int k = 0; options.lengths.empty() && k <= probe.modules(); ++k) lengths.push_back(k);
  std::vector<Norms> norms(lengths.size());
  for (const Batch& batch : samples.batches) {
    probe.write(batch);
    report.whole_norm += norm_of(probe.whole()) / static_cast<double>(samples.batches.size());
    for (size_t i = 0; i < lengths.size(); ++i) {
      check(lengths[i] >= 0 && lengths[i] <= probe.modules(), ErrorKind::kConfig,
            "paths: length {} is asked for, model {} has lengths 0 to {}", lengths[i], subject.model,
            probe.modules());
      for (int s = 0; s < options.samples; ++s) {
        RandomStream random(options.seed, RandomPurpose::kAnalysis, static_cast<uint64_t>(lengths[i]),
                            static_cast<uint64_t>(batch.index * options.samples + s));
        norms[i].add(norm_of(probe.along(choose(static_cast<int>(probe.modules()), lengths[i], random))));
      }
      if (options.progress) {
        options.progress(fmt::format("paths through {} of {} modules: gradient {:.3e}", lengths[i],
                                     probe.modules(), norms[i].moments.mean()));
      }
    }
  }
  for (size_t i = 0; i < lengths.size(); ++i) {
    const Norms& found = norms[i];
    report.lengths.push_back(
        {lengths[i], found.moments.mean(), found.moments.std(), found.lowest, found.highest});
  }
  summarize_paths(report);
  return report;
}

}  // namespace residuum
