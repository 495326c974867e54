// Training on the emulated GPU when something goes wrong with the device, and that steps follow each other
// without the host waiting in between.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/checkpoint/store.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/train/switches.h"
#include "engine/train/training_setup.h"
#include "models/recipe_model.h"
#include "tests/emulator/runtime.h"
#include "tests/support/small_run.h"

namespace residuum {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// Steps of a few images: the emulator is some thousand times slower than a GPU.
std::vector<std::string> short_run(int64_t steps, std::vector<std::string> more = {}) {
  more.insert(more.end(), {"train.batch=4", "train.eval_batch=4", "train.eval_every=0", "train.epochs=0",
                           "train.steps=" + std::to_string(steps)});
  return more;
}

class CudaTrainerTest : public SmallRunTest {
 protected:
  CudaTrainerTest() { emulator::reset(); }
  ~CudaTrainerTest() override { emulator::reset(); }

  TrainResult run(const std::vector<std::string>& overrides, std::vector<TrainObserver*> observers = {},
                  bool resume = false) const {
    const std::unique_ptr<Backend> backend = make_backend("cuda", {});
    return SmallRunTest::run(*backend, overrides, std::move(observers), resume);
  }
  /// The message of the Error(kDevice) that the run ends with.
  std::string device_error(const std::vector<std::string>& overrides) const {
    try {
      run(overrides);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice) << error.what();
      return error.what();
    }
    ADD_FAILURE() << "the run ended well";
    return {};
  }
};

TEST_F(CudaTrainerTest, ABrokenContextStopsTheRunWithTheLastStateIntact) {
  const std::vector<std::string> overrides = short_run(4, {"checkpoint.every=2"});
  run(overrides);
  const std::string expected = weights();
  std::filesystem::remove_all(out_);

  emulator::reset();
  emulator::fail_call("cudaGraphLaunch", 6, cudaErrorIllegalAddress);  // the update of the third step
  EXPECT_THAT(device_error(overrides), HasSubstr("cudaErrorIllegalAddress"));
  EXPECT_THAT(CheckpointStore(out_ / "checkpoints", 2).steps(), ::testing::ElementsAre(2))
      << "nothing was saved from a broken device";

  emulator::reset();
  run(overrides, {}, true);
  EXPECT_EQ(weights(), expected) << "resumed on a device that works: the same bits";
}

/// Launches of a training step on CUDA without what `off` names.
size_t groups_without(const std::vector<std::string>& off) {
  Recipe recipe = small_recipe({});
  recipe.train.disable_passes = off;
  const std::unique_ptr<Backend> backend = make_planning_backend("cuda", backend_options(off));
  const Graph forward = model_builder(recipe)({Mode::kTrain, 4, {8, 8, 1}, 4});
  const Graph graph = training_step(recipe, forward, *backend, share_of(recipe));
  return make_plan(graph, *backend, plan_options(off)).groups.size();
}

TEST(CudaSwitches, FusionsAreSwitchedOffByTheirNames) {
  std::vector<std::string> all;
  for (const FusionKind& kind : make_planning_backend("cuda", {})->fusions()) all.push_back(kind.name);
  ASSERT_FALSE(all.empty());
  EXPECT_GT(groups_without(all), groups_without({}));
  EXPECT_GT(groups_without({"group"}), groups_without(all)) << "updates still run together";
  try {
    groups_without({"no_such_thing"});
    FAIL() << "an unknown name was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_THAT(error.what(), HasSubstr("the kinds of fusions " + all.front()));
  }
}

/// What a step of `batch` images is planned to need.
size_t planned_bytes(int64_t batch) {
  const Recipe recipe = small_recipe({});
  const std::unique_ptr<Backend> backend = make_planning_backend("cuda", {});
  const Graph forward = model_builder(recipe)({Mode::kTrain, batch, {8, 8, 1}, 4});
  return make_plan(run_passes(forward, passes_of(recipe, *backend, share_of(recipe))), *backend).peak_bytes();
}

TEST_F(CudaTrainerTest, OutOfMemoryNamesThePlanAndTheBatchThatFits) {
  emulator::set_memory(planned_bytes(30));
  const auto overrides = [](int batch) {
    return std::vector<std::string>{"train.batch=" + std::to_string(batch), "train.eval_batch=4",
                                    "train.epochs=0", "train.steps=1", "train.eval_every=0"};
  };
  const std::string message = device_error(overrides(48));
  const std::string before = "the largest batch that fits is ";
  ASSERT_THAT(message, AllOf(HasSubstr("cifar_resnet8 at train.batch 48 does not fit"), HasSubstr("arena"),
                             HasSubstr(" free; "), HasSubstr(before)));
  const int batch = std::stoi(message.substr(message.find(before) + before.size()));
  EXPECT_GT(batch, 15);
  EXPECT_LT(batch, 30) << "something is left for what no plan knows";
  std::filesystem::remove_all(out_);
  EXPECT_EQ(run(overrides(batch)).steps, 1) << "what was advised does fit";
}

TEST_F(CudaTrainerTest, NotEvenOneImageFits) {
  emulator::set_memory(size_t{256} << 10);
  EXPECT_THAT(device_error(short_run(1)), HasSubstr("no batch fits"));
}

TEST_F(CudaTrainerTest, NonFiniteStopsTheRunBeforeWeightsChangeAgain) {
  const std::vector<std::string> diverging =
      short_run(40, {"optimizer.lr=1000", "optimizer.weight_decay=10"});
  Recorder recorder;
  try {
    run(diverging, {&recorder});
    FAIL() << "weights that grow ten-thousandfold a step overflow";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNumeric) << error.what();
  }
  const auto dump = parse_json(read_text_file(out_ / "non_finite.json"));
  EXPECT_FALSE(dump.at("value").get<std::string>().empty()) << "found with the weights of that very step";
  EXPECT_EQ(dump.at("samples").size(), 4u);
  EXPECT_EQ(dump.at("step").get<size_t>(), recorder.steps.size());
}

TEST_F(CudaTrainerTest, TheHostWaitsForNoStepButTheLast) {
  const auto waits = [this](int64_t steps) {
    std::filesystem::remove_all(out_);
    emulator::reset();
    run(short_run(steps));
    return emulator::call_count("cudaStreamSynchronize") + emulator::call_count("cudaDeviceSynchronize");
  };
  EXPECT_EQ(waits(2), waits(5)) << "steps wait for events alone";
}

}  // namespace
}  // namespace residuum
