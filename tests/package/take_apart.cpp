// A whole training on images of one's own, then a look into the net: recipe, data in memory, trainer, the
// exact evaluation, and the lesions of the laboratory. The exit status is not 0 unless the net has learnt.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/core/check.h"
#include "engine/core/random.h"
#include "engine/core/version.h"
#include "engine/data/memory_dataset.h"
#include "engine/lab/lesion.h"
#include "engine/train/trainer.h"
#include "engine/train/weights.h"
#include "models/recipe_model.h"

namespace {

using namespace residuum;

/// 64 grey images of noise around a brightness that tells the class.
MemoryDataset made_up_data(uint64_t seed) {
  constexpr int kSize = 8, kImages = 64;
  MemoryDataset::Contents contents{{kSize, kSize, 1}, {}, {}, {"dark", "bright"}, {}};
  RandomStream random(seed, RandomPurpose::kAnalysis, 0, 0);
  for (int i = 0; i < kImages; ++i) {
    contents.labels.push_back(i % 2);
    for (int pixel = 0; pixel < kSize * kSize; ++pixel) {
      contents.pixels.push_back(
          static_cast<uint8_t>(120u * static_cast<uint32_t>(i % 2) + random.uniform_below(80)));
    }
  }
  return MemoryDataset(contents);
}

struct Printer : TrainObserver {
  void on_evaluation(const EvaluationReport& report) override {
    std::printf("step %lld  top1 %.1f %%\n", static_cast<long long>(report.step),
                100 * report.test.top1_accuracy());
  }
};

int run(const char* out) {
  const Recipe recipe =
      parse_recipe("[model]\nname = \"cifar_resnet14\"\n[train]\nepochs = 3\nbatch = 16\n", "recipe");
  const MemoryDataset train_data = made_up_data(1), test_data = made_up_data(2);
  const auto backend = make_backend("cpu", {});
  Printer printer;
  TrainOptions options;
  options.out = out;
  options.observers = {&printer};
  const TrainResult result = train(recipe, model_builder(recipe), train_data, test_data, *backend, options);

  State state(*backend);
  const Subject subject{recipe.model.name, model_builder(recipe), recipe, test_data, *backend, state};
  state.add(forward_graph(subject, Mode::kEval, sample_batches(subject, 1, 1, 0)), 0);
  import_weights(state, SafetensorsFile::read(options.out / "checkpoints" / "last.safetensors"));
  const LesionReport report = lesion(subject, LesionKind::kBlocks, {});
  for (const LesionReport::Single& single : report.singles) {
    std::printf("without %s: top1 %.1f %%\n", single.name.c_str(), 100 * single.without.top1_accuracy());
  }
  static_assert(RESIDUUM_VERSION >= 100, "the version is a number");
  return result.last.top1 > result.last.samples / 2 && report.whole.top1 == result.last.top1 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? argv[1] : "run");
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
