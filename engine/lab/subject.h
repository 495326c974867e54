// What an analysis is about: a model with its state, and images to look at it with. The laboratory changes
// graphs, never the weights of the state it is given, unless a function says so.
#pragma once

#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/data/dataset.h"
#include "engine/data/loader.h"
#include "engine/exec/executor.h"
#include "engine/exec/state.h"
#include "engine/train/evaluator.h"
#include "engine/train/model_builder.h"
#include "engine/train/recipe.h"

namespace residuum {

/// Everything referred to must outlive it.
struct Subject {
  std::string model;  ///< its name, for messages
  ModelBuilder build;
  const Recipe& recipe;
  const Dataset& data;
  Backend& backend;
  State& state;  ///< holds every parameter and running statistic of the model
};

/// Whole batches of a data set in the order of a shuffle, as an evaluation sees them (no augmentation).
struct SampleBatches {
  ImageShape image;
  int64_t batch = 0;  ///< images in each
  std::vector<Batch> batches;
};

/// The first `count` batches of `batch` images in the order of `seed`; throws Error(kConfig) when the data
/// set has fewer images.
SampleBatches sample_batches(const Subject& subject, int64_t batch, int64_t count, uint64_t seed);

/// The forward graph of the model for such batches.
Graph forward_graph(const Subject& subject, Mode mode, const SampleBatches& samples);

/// What the loss is multiplied by in a backward pass, so that gradients keep in the range of the recipe's
/// precision.
float loss_scale_of(const Subject& subject);

/// Exact accuracy of the model after `operation` on its evaluation graph.
Evaluation evaluate(const Subject& subject, const std::function<Graph(Graph)>& operation);

/// A graph on the device, whose outputs are read as floats.
class Probe {
 public:
  /// Graph and state as Executor takes them; `seed` decides dropout.
  Probe(Graph graph, const Subject& subject, uint64_t seed);

  void write(const Batch& batch);
  /// An input of per-channel factors, filled with `value`; one the graph does not have is left out.
  void fill(const std::string& input, float value);
  void run();
  /// Output `name`, whatever floating type it is stored in.
  std::vector<float> read(const std::string& name);
  /// The executed graph.
  const Graph& graph() const { return executor_.graph(); }

 private:
  Executor executor_;
  uint64_t seed_;
};

/// Sums of many values in double precision.
struct Moments {
  int64_t count = 0;
  double sum = 0, squares = 0;

  void add(double value) {
    ++count;
    sum += value;
    squares += value * value;
  }
  void add(const std::vector<float>& values) {
    for (const float value : values) add(static_cast<double>(value));
  }
  /// Euclidean norm of all values, their mean and standard deviation; 0 without values.
  double norm() const;
  double mean() const;
  double std() const;
};

}  // namespace residuum
