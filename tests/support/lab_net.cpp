#include "tests/support/lab_net.h"

#include "engine/train/training_setup.h"
#include "models/recipe_model.h"

namespace residuum {

LabNet::LabNet(const std::string& model, std::vector<std::string> keys, Backend& backend) {
  keys.insert(keys.begin(), "model.name=" + model);
  recipe_ = small_recipe(keys);
  start(model, model_builder(recipe_), backend);
}

LabNet::LabNet(const std::string& model, std::vector<std::string> keys, std::unique_ptr<Dataset> data,
               uint64_t seed)
    : data_(std::move(data)) {
  keys.insert(keys.begin(), "model.name=" + model);
  recipe_ = small_recipe(keys);
  start(model, model_builder(recipe_), test_backend(), seed);
}

LabNet::LabNet(const std::string& name, ModelBuilder build, Backend& backend) : recipe_(small_recipe({})) {
  start(name, std::move(build), backend);
}

void LabNet::start(const std::string& name, ModelBuilder build, Backend& backend, uint64_t seed) {
  if (data_ == nullptr) data_ = brightness_data();
  state_ = std::make_unique<State>(backend);
  subject_ = std::make_unique<Subject>(Subject{name, std::move(build), recipe_, *data_, backend, *state_});
  state_->add(graph(Mode::kTrain), seed);
}

Graph LabNet::graph(Mode mode, int64_t batch) const {
  return forward_graph(*subject_, mode, sample_batches(*subject_, batch, 1, 1));
}

std::vector<float> LabNet::logits(Graph graph) const {
  const SampleBatches samples = sample_batches(*subject_, 4, 1, 1);
  graph.outputs = {{"logits", graph.output("logits")}, {"loss", graph.output("loss")}};
  Probe probe(std::move(graph), *subject_, 1);
  probe.write(samples.batches[0]);
  probe.run();
  return probe.read("logits");
}

std::vector<float> LabNet::values(const std::string& name) const {
  return state_->read_floats(name);
}

void LabNet::set(const std::string& name, const std::vector<float>& values) {
  state_->write(name, std::as_bytes(std::span(values)));
}

void LabNet::fill(const std::string& name, float value) {
  set(name, std::vector<float>(values(name).size(), value));
}

ModelBuilder net_of_blocks(int64_t channels, std::function<ValueId(GraphBuilder&, ValueId)> blocks) {
  return [channels, blocks = std::move(blocks)](const GraphRequest& request) {
    GraphBuilder builder(request.mode, DType::kF32);
    const std::vector<float> half(static_cast<size_t>(request.image.channels), 0.5f);
    ValueId x = builder.images(request.batch, request.image.height, request.image.width,
                               request.image.channels, half, half);
    x = builder.relu(builder.conv("stem", x, channels, 3, {.pad = 1}));
    x = builder.global_avg_pool(blocks(builder, x));
    builder.classification_loss(builder.linear("fc", x, request.classes, {.logits = true}), 0);
    return builder.take();
  };
}

}  // namespace residuum
