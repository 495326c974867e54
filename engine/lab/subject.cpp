#include "engine/lab/subject.h"

#include <algorithm>
#include <cmath>

#include "engine/core/check.h"
#include "engine/core/half.h"
#include "engine/train/training_setup.h"

namespace residuum {

SampleBatches sample_batches(const Subject& subject, int64_t batch, int64_t count, uint64_t seed) {
  check(batch >= 1 && count >= 1 && batch * count <= subject.data.size(), ErrorKind::kConfig,
        "{} batches of {} images are asked for, the data has {} images", count, batch, subject.data.size());
  LoaderOptions options = eval_loader_options(subject.recipe);
  options.batch = batch;
  options.shuffle = true;
  options.drop_last = true;
  options.seed = seed;
  Loader loader(subject.data, options);
  SampleBatches samples{loader.image_shape(), batch, {}};
  loader.start(0);
  for (int64_t i = 0; i < count; ++i) {
    samples.batches.emplace_back();
    check(loader.next(samples.batches.back()), ErrorKind::kInternal, "the data ended before batch {}", i);
  }
  return samples;
}

Graph forward_graph(const Subject& subject, Mode mode, const SampleBatches& samples) {
  return subject.build({mode, samples.batch, samples.image, class_count(subject.recipe, subject.data)});
}

float loss_scale_of(const Subject& subject) {
  const TrainRecipe& train = subject.recipe.train;
  return static_cast<float>(loss_scale(train.precision, train.loss_scale));
}

Evaluation evaluate(const Subject& subject, const std::function<Graph(Graph)>& operation) {
  const ModelBuilder operated = [&](const GraphRequest& request) {
    Graph graph = operation(subject.build(request));
    graph.validate("operation of the laboratory");
    return graph;
  };
  return Evaluator(operated, subject.data, subject.recipe, subject.backend, subject.state).run();
}

Probe::Probe(Graph graph, const Subject& subject, uint64_t seed)
    : executor_(std::move(graph), subject.backend, subject.state, {{}, seed, {}}), seed_(seed) {}

void Probe::write(const Batch& batch) {
  executor_.write("images", batch.images);
  executor_.write("labels", batch.labels);
}

void Probe::fill(const std::string& input, float value) {
  const std::optional<ValueId> id = executor_.graph().find(input);
  if (!id) return;
  executor_.write(input,
                  std::vector<float>(static_cast<size_t>(executor_.graph().desc(*id).elements()), value));
}

void Probe::run() {
  executor_.run_micro_step({.seed = seed_});
}

std::vector<float> Probe::read(const std::string& name) {
  const DType type = executor_.graph().desc(executor_.graph().output(name)).dtype;
  if (type == DType::kF32) return executor_.read<float>(name);
  const std::vector<uint16_t> halves = executor_.read<uint16_t>(name);
  return decode_floats(std::as_bytes(std::span(halves)), type);
}

double Moments::norm() const {
  return std::sqrt(squares);
}
double Moments::mean() const {
  return count == 0 ? 0 : sum / static_cast<double>(count);
}
double Moments::std() const {
  return count == 0 ? 0 : std::sqrt(std::max(0.0, squares / static_cast<double>(count) - mean() * mean()));
}

}  // namespace residuum
