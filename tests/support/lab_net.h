// What tests of the laboratory share: a small net with its state and made-up images as a Subject.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/lab/subject.h"
#include "tests/support/small_run.h"
#include "tests/support/test_device.h"

namespace residuum {

/// A net at its initial weights, with the images of brightness_data, 8 x 8.
class LabNet {
 public:
  /// A model of the zoo, changed by recipe keys.
  explicit LabNet(const std::string& model, std::vector<std::string> keys = {},
                  Backend& backend = test_backend());
  /// The same at the seed `seed` with other images than those.
  LabNet(const std::string& model, std::vector<std::string> keys, std::unique_ptr<Dataset> data,
         uint64_t seed);
  /// The net that `build` writes.
  LabNet(const std::string& name, ModelBuilder build, Backend& backend = test_backend());

  const Subject& subject() const { return *subject_; }
  State& state() { return *state_; }
  /// Its graph for evaluation, or for training without update.
  Graph graph(Mode mode = Mode::kEval, int64_t batch = 4) const;
  /// The logits of a graph on the first images.
  std::vector<float> logits(Graph graph) const;
  std::vector<float> values(const std::string& name) const;
  void set(const std::string& name, const std::vector<float>& values);
  void fill(const std::string& name, float value);

 private:
  void start(const std::string& name, ModelBuilder build, Backend& backend, uint64_t seed = 7);

  Recipe recipe_;
  std::unique_ptr<Dataset> data_;
  std::unique_ptr<State> state_;
  std::unique_ptr<Subject> subject_;
};

/// A classifier on what `net` makes of the normalised images: a 3x3 stem of `channels`, the blocks, pooling,
/// fc.
ModelBuilder net_of_blocks(int64_t channels, std::function<ValueId(GraphBuilder&, ValueId)> blocks);

}  // namespace residuum
