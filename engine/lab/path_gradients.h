// The gradient that single paths carry (Veit 2016, section 5): the forward pass is whole; backward, the
// gradient goes through the branch of k chosen blocks and through the shortcut of all others.
#pragma once

#include <functional>
#include <vector>

#include "engine/lab/path_count.h"
#include "engine/lab/subject.h"

namespace residuum {

/// Measures gradients along paths. The net is in training mode, with batch statistics, but all of its blocks
/// work: those of stochastic depth as in an evaluation.
class PathProbe {
 public:
  /// Gradients of the mean loss of a batch with respect to the normalised images. Throws Error(kConfig) when
  /// a block of the model has no shortcut.
  PathProbe(const Subject& subject, const SampleBatches& samples, uint64_t seed);

  int64_t modules() const { return static_cast<int64_t>(names_.size()); }
  const Graph& graph() const { return probe_.graph(); }
  void write(const Batch& batch) { probe_.write(batch); }
  /// The gradient along the path through the branches of `branches` and the shortcuts of the other blocks.
  std::vector<float> along(const std::vector<int>& branches);
  /// The ordinary gradient: the sum over all paths.
  std::vector<float> whole();

 private:
  PathProbe(const Subject& subject, const Graph& forward, uint64_t seed);
  std::vector<float> run();

  float loss_scale_;
  std::vector<std::string> names_;  ///< of the blocks
  Probe probe_;
};

struct PathOptions {
  int samples = 10;  ///< random paths of each length and batch
  int64_t batch = 32, batches = 1;
  std::vector<int> lengths = {};  ///< in modules; empty: all
  uint64_t seed = 1;
  std::function<void(const std::string&)> progress = {};
};

struct PathReport {
  PathCount count;
  double whole_norm = 0;  ///< of the ordinary gradient, mean over the batches
  struct Length {
    int modules = 0;
    double mean_norm = 0, std_norm = 0, lowest = 0, highest = 0;  ///< of a path's gradient
    double log_total = 0;                                         ///< ln(C(n, k) mean_norm)
    double share = 0;                                             ///< of all lengths measured
  };
  std::vector<Length> lengths;
  double factor_per_module = 0;  ///< of the norm: e^slope of a line through ln(mean_norm) against k
  /// The effective paths: the lengths from the 2.5th to the 97.5th percentile of the gradient.
  int effective_low = 0, effective_high = 0;
  double share_of_paths = 0;  ///< that have these lengths
};

/// Samples paths of each length. Throws as PathProbe, and Error(kConfig) for a length the net does not have.
PathReport sample_paths(const Subject& subject, const PathOptions& options);

/// Completes shares, effective range and factor of a report whose counts and norms are there.
void summarize_paths(PathReport& report);

}  // namespace residuum
