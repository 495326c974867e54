#include "tests/support/small_run.h"

#include "engine/core/file.h"
#include "engine/core/random.h"
#include "engine/data/memory_dataset.h"
#include "engine/lab/random_labels.h"
#include "models/recipe_model.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

/// "CudaTrainerTest_Resumes", without what a parameterised test adds.
std::string test_name() {
  const ::testing::TestInfo& test = *::testing::UnitTest::GetInstance()->current_test_info();
  return std::string(test.test_suite_name()) + "_" + test.name();
}

}  // namespace

std::unique_ptr<Dataset> brightness_data() {
  MemoryDataset::Contents contents;
  contents.shape = {8, 8, 1};
  contents.classes = numbered_classes(4);
  RandomStream random(5, RandomPurpose::kAnalysis, 0, 0);
  for (int sample = 0; sample < 48; ++sample) {
    contents.labels.push_back(sample % 4);
    for (int i = 0; i < 64; ++i) {
      contents.pixels.push_back(
          static_cast<uint8_t>(60 * (sample % 4) + static_cast<int>(random.uniform_below(30))));
    }
  }
  return std::make_unique<MemoryDataset>(std::move(contents));
}

std::unique_ptr<Dataset> noise_data(int size) {
  constexpr int kImages = 32;
  MemoryDataset::Contents contents;
  contents.shape = {size, size, 1};
  contents.classes = numbered_classes(10);
  RandomStream random(1, RandomPurpose::kAnalysis, 0, 0);
  for (int i = 0; i < kImages * size * size; ++i) {
    contents.pixels.push_back(static_cast<uint8_t>(random.uniform_below(256)));
  }
  contents.labels.assign(kImages, 0);
  return random_labels(std::make_shared<MemoryDataset>(std::move(contents)), 7);
}

Recipe small_recipe(const std::vector<std::string>& overrides) {
  return parse_recipe(
      "[model]\nname = 'cifar_resnet8'\n[train]\nbatch = 16\nepochs = 6\neval_batch = 20\n"
      "[optimizer]\nlr = 0.05\n[data]\nthreads = 0\n",
      "test", overrides);
}

SmallRunTest::SmallRunTest() : out_(fs::path(::testing::TempDir()) / test_name()) {
  fs::remove_all(out_);
}

SmallRunTest::~SmallRunTest() {
  fs::remove_all(out_);
}

TrainResult SmallRunTest::run(Backend& backend, const std::vector<std::string>& overrides,
                              std::vector<TrainObserver*> observers, bool resume) const {
  const Recipe recipe = small_recipe(overrides);
  const std::unique_ptr<Dataset> data = brightness_data();
  return train(recipe, model_builder(recipe), *data, *data, backend, {out_, resume, std::move(observers)});
}

std::string SmallRunTest::weights() const {
  return read_text_file(out_ / "checkpoints" / "last.safetensors");
}

}  // namespace residuum
