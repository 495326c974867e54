// What flows through a net, layer by layer: norms of weights, gradients and activations, at initialisation or
// as training goes on. Vanishing and exploding gradients, measured.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/lab/structure.h"
#include "engine/lab/subject.h"

namespace residuum {

/// Euclidean norms over a whole batch, of one layer (structure.h): its weights, their gradient, its output,
/// and the gradient of the mean loss with respect to its output.
struct LayerStats {
  std::string name;
  double weight = 0, weight_gradient = 0, output = 0, output_gradient = 0;
  double output_mean = 0, output_std = 0;  ///< over all elements
};

/// Of one block with a shortcut.
struct BlockStats {
  std::string name;
  double branch_over_skip = 0;  ///< |F(x)| / |shortcut(x)| at the join
  double stream_std = 0;        ///< of the block's output, over all elements
  double gradient = 0;          ///< norm of the loss gradient with respect to the block's output
};

/// One look at the net.
struct NetStats {
  int64_t step = 0;  ///< optimizer steps done
  double loss = 0;
  std::vector<LayerStats> layers;
  std::vector<BlockStats> blocks;
  /// Norm of the first layer's weight gradient over that of the last one before the classifier that has any:
  /// above 1, gradients grow towards the input.
  double first_over_last = 0;
};

/// Looks at all layers of a net with the same batches. The net is in training mode: batch statistics.
class LayerProbe {
 public:
  LayerProbe(const Subject& subject, SampleBatches samples, uint64_t seed);

  /// Means over the batches.
  NetStats look(int64_t step);

 private:
  struct Plan;
  static Plan plan_of(const Subject& subject, Graph forward);
  LayerProbe(Plan plan, const Subject& subject, SampleBatches samples, uint64_t seed);
  void add(NetStats& stats, const Batch& batch, double weight);
  double norm(const std::string& output);
  /// Of a gradient; 0 when the loss does not depend on the value.
  double gradient_norm(const std::string& output);

  const Subject& subject_;
  SampleBatches samples_;
  std::vector<Layer> layers_;
  std::vector<std::string> weights_;  ///< parameter of each layer
  std::vector<Join> joins_;
  std::vector<std::string> blocks_;  ///< name of each join's block
  Probe probe_;
};

struct GradientOptions {
  int64_t batch = 32, batches = 1;
  int64_t steps = 0;   ///< of training with the recipe's optimizer and schedule
  int64_t every = 10;  ///< steps between looks
  uint64_t seed = 1;
  std::function<void(const std::string&)> progress = {};
};

/// Looks at the net before training and after every `every` steps. Training changes the state of `subject`;
/// its images are augmented as the recipe says and come from `subject.data`. Throws Error(kNumeric) when the
/// loss is not finite.
std::vector<NetStats> layer_statistics(const Subject& subject, const GradientOptions& options);

}  // namespace residuum
