// The library in one page: a model becomes a graph, passes make it a training step, an executor runs it ten
// times on made-up images, and the weights are saved under torchvision's names. The exit status is not 0
// unless the loss falls.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/core/check.h"
#include "engine/core/random.h"
#include "engine/exec/executor.h"
#include "engine/graph/passes.h"
#include "engine/train/weights.h"
#include "models/zoo.h"

namespace {

using namespace residuum;

constexpr int64_t kBatch = 32, kSize = 32, kClasses = 10;
constexpr int kSteps = 10;

/// Noise around a brightness that tells the class.
std::vector<uint8_t> made_up_images(const std::vector<int32_t>& labels) {
  constexpr size_t kBytes = kSize * kSize * 3;
  RandomStream random(1, RandomPurpose::kAnalysis, 0, 0);
  std::vector<uint8_t> images;
  for (const int32_t label : labels) {
    for (size_t i = 0; i < kBytes; ++i) {
      images.push_back(static_cast<uint8_t>(static_cast<uint32_t>(20 * label) + random.uniform_below(40)));
    }
  }
  return images;
}

int train(const char* weights_path) {
  ModelOptions options;
  options.batch = kBatch;
  options.image_size = kSize;
  options.classes = kClasses;
  TrainingPassOptions training;
  training.update.weight_decay = 1e-4f;

  const auto backend = make_backend("auto", {});
  State state(*backend);
  Executor executor(run_passes(build_model("cifar_resnet20", options), training_passes(training)), *backend,
                    state, {.plan = {}, .seed = 1, .state_name = {}});
  std::printf("%s\npeak memory %zu bytes, %zu launches a step\n", backend->describe().c_str(),
              executor.plan().peak_bytes(), executor.plan().launches.size());

  std::vector<int32_t> labels;
  for (int64_t i = 0; i < kBatch; ++i) labels.push_back(static_cast<int32_t>(i % kClasses));
  const std::vector<uint8_t> images = made_up_images(labels);
  float first = 0, last = 0;
  for (int step = 0; step < kSteps; ++step) {
    const StepParams params{
        .seed = 1, .step = static_cast<uint64_t>(step), .micro_step = 0, .learning_rate = 0.05f};
    executor.write("images", images);
    executor.write("labels", labels);
    executor.run_micro_step(params);
    executor.run_update(params);
    last = executor.read<float>("loss").at(0);
    if (step == 0) first = last;
    std::printf("step %d  loss %.4f\n", step + 1, static_cast<double>(last));
  }

  const TensorFileContent weights = export_weights(state, "", kSteps);
  write_safetensors(weights_path, weights.tensors, {{"model", "cifar_resnet20"}});
  std::printf("%zu tensors in %s\n", weights.tensors.size(), weights_path);
  return last < first ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return train(argc > 1 ? argv[1] : "cifar_resnet20.safetensors");
  } catch (const Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
