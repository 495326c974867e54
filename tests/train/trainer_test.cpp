// The trainer on small data in memory: what it writes, and what happens when numbers stop being finite.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/checkpoint/safetensors.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/train/memory_fit.h"
#include "engine/train/weights.h"
#include "models/recipe_model.h"
#include "tests/support/backend_wrapper.h"
#include "tests/support/small_run.h"

namespace residuum {
namespace {

class TrainerTest : public SmallRunTest {
 protected:
  TrainResult run(const std::vector<std::string>& overrides, std::vector<TrainObserver*> observers = {}) {
    const std::unique_ptr<Backend> backend = make_backend("cpu", {.threads = 2});
    return SmallRunTest::run(*backend, overrides, std::move(observers));
  }
};

TEST_F(TrainerTest, LearnsAndCountsEverySample) {
  const TrainResult result = run({});
  EXPECT_EQ(result.steps, 18);
  EXPECT_EQ(result.last.samples, 48);
  EXPECT_EQ(result.last.top5, 48) << "four classes: everything is in the top five";
  EXPECT_GT(result.best.top1, 40);
  const SafetensorsFile weights = SafetensorsFile::read(out_ / "checkpoints" / "last.safetensors");
  EXPECT_EQ(weights.metadata().at("model"), "cifar_resnet8");
  EXPECT_EQ(parse_recipe(weights.metadata().at("recipe"), "metadata").train.batch, 16);
  EXPECT_EQ(class_names(weights), brightness_data()->classes());
  ASSERT_NE(weights.find("bn1.num_batches_tracked"), nullptr);
}

TEST_F(TrainerTest, EveryOptionTogetherLearnsToo) {
  const TrainResult result = run({"train.accumulation=2", "train.precision=bf16", "train.recompute=true",
                                  "optimizer.ema_decay=0.5", "optimizer.clip_norm=1",
                                  "optimizer.nesterov=true", "train.label_smoothing=0.1", "train.epochs=10"});
  EXPECT_GT(result.best.top1, 36);
}

/// The plan's size, as the run begins.
struct PlanSize : TrainObserver {
  void on_start(const RunInfo& info) override {
    groups = info.plan.groups.size();
    nodes = info.plan.graph.nodes.size();
    arena = info.plan.memory.arena_bytes;
  }
  size_t groups = 0, nodes = 0, arena = 0;
};

TEST_F(TrainerTest, WhatIsSwitchedOffIsLeftOut) {
  const auto sized = [&](const std::string& off) {
    PlanSize size;
    Recorder recorder;
    run({"train.epochs=1", "train.disable_passes=" + off}, {&size, &recorder});
    std::filesystem::remove_all(out_);
    EXPECT_EQ(recorder.steps.size(), 3u);
    return std::pair{size, recorder.steps.back().loss};
  };
  const auto [usual, loss] = sized("[]");
  EXPECT_LT(usual.groups, usual.nodes);
  const auto [single, single_loss] = sized("['group', 'rematerialize']");
  EXPECT_EQ(single.groups, single.nodes);
  EXPECT_LT(single.nodes, usual.nodes) << "nothing is repeated";
  const auto [spread, spread_loss] = sized("['memory_reuse']");
  EXPECT_EQ(spread.nodes, usual.nodes);
  EXPECT_GT(spread.arena, usual.arena);
  EXPECT_EQ(spread_loss, loss) << "where tensors lie changes no bit";
  EXPECT_NEAR(single_loss, loss, 1e-4 * std::abs(loss));
}

TEST_F(TrainerTest, EveryFamilyAndVariantLearns) {
  const std::vector<std::vector<std::string>> nets = {
      {"model.gate=exclusive", "model.gate_bias=[0]"},
      {"model.gate=shortcut_only", "model.shortcut_dropout=0.2"},
      {"model.shortcut_scale=0.5", "model.branch_scale=0.5", "model.survival=0.7", "train.recompute=true"},
      {"model.sampled_blocks=2", "model.placement=bn_after_addition"},
      {"model.placement=relu_before_addition", "model.dropout=[0.1]"},
      {"model.placement=relu_preactivation", "model.shortcut=C"},
      {"model.batch_norm=false", "model.activation=tanh"},
      {"model.name=cifar_plain8", "model.activation=crelu"},
      {"model.name=cifar_highway11", "model.dropout=[0]"},
      {"model.name=mnist_highway4_24", "model.carry=own"},
      {"model.name=mnist_plain4_24"},
      {"model.name=cifar_densenet10_4"},
      {"model.name=cifar_densenet_bc10_8", "model.compression=0.75"},
      {"model.name=cifar_wrn10_1"},
  };
  for (const char* precision : {"fp32", "bf16"}) {
    for (const std::vector<std::string>& net : nets) {
      std::vector<std::string> overrides = net;
      overrides.push_back(std::string("train.precision=") + precision);
      Recorder recorder;
      run(overrides, {&recorder});
      std::filesystem::remove_all(out_);
      ASSERT_EQ(recorder.steps.size(), 18u);
      const auto epoch_loss = [&](size_t first) {
        return recorder.steps[first].loss + recorder.steps[first + 1].loss + recorder.steps[first + 2].loss;
      };
      EXPECT_LT(epoch_loss(15), 0.9 * epoch_loss(0)) << fmt::format("{}", fmt::join(overrides, " "));
    }
  }
}

TEST_F(TrainerTest, TheLossScaleChangesNoNumber) {
  const std::vector<std::string> options = {"train.epochs=2", "train.accumulation=2",
                                            "optimizer.clip_norm=0.5"};
  Recorder plain, scaled;
  run(options, {&plain});
  std::filesystem::remove_all(out_);
  std::vector<std::string> with_scale = options;
  with_scale.emplace_back("train.loss_scale=1024");
  run(with_scale, {&scaled});
  ASSERT_EQ(plain.steps.size(), scaled.steps.size());
  for (size_t i = 0; i < plain.steps.size(); ++i) {
    EXPECT_EQ(plain.steps[i].loss, scaled.steps[i].loss) << "a power of two is exact, at step " << i;
    EXPECT_EQ(plain.steps[i].gradient_norm, scaled.steps[i].gradient_norm) << i;
  }
}

TEST_F(TrainerTest, Fp16IsRefusedByTheCpu) {
  try {
    run({"train.precision=fp16"});
    FAIL() << "the CPU has no f16";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_STREQ(error.what(), "train.precision fp16 needs --device cuda; the CPU computes in fp32 or bf16");
  }
}

TEST_F(TrainerTest, AugmentationOnTheDeviceTrainsTheSameBits) {
  const std::vector<std::string> options = {"train.epochs=2", "train.accumulation=2",
                                            "data.augment=pad_crop_flip", "data.pad=2"};
  run(options);
  const std::filesystem::path weights = out_ / "checkpoints" / "last.safetensors";
  const std::string on_host = read_text_file(weights);
  std::filesystem::remove_all(out_);
  std::vector<std::string> on_device = options;
  on_device.emplace_back("data.augment_on=device");
  run(on_device);
  EXPECT_TRUE(read_text_file(weights) == on_host);
}

TEST_F(TrainerTest, NonFiniteWindowsAreSearchedToo) {
  EXPECT_THROW(run({"optimizer.lr=1000", "optimizer.weight_decay=10", "train.epochs=20",
                    "data.augment=pad_crop_flip", "data.augment_on=device"}),
               Error);
  const auto dump = parse_json(read_text_file(out_ / "non_finite.json"));
  EXPECT_FALSE(dump.at("value").get<std::string>().empty());
}

TEST_F(TrainerTest, NonFiniteStopsTheRunAndSaysWhere) {
  const std::vector<std::string> diverging = {"optimizer.lr=1000", "optimizer.weight_decay=10",
                                              "train.epochs=20"};
  Recorder recorder;
  try {
    run(diverging, {&recorder});
    FAIL() << "weights that grow ten-thousandfold a step overflow";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNumeric);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("non_finite.json"));
  }
  const auto dump = parse_json(read_text_file(out_ / "non_finite.json"));
  EXPECT_FALSE(dump.at("value").get<std::string>().empty());
  EXPECT_EQ(dump.at("samples").size(), 16u);
  EXPECT_EQ(dump.at("step").get<size_t>(), recorder.steps.size()) << "the steps before it were reported";
}

TEST_F(TrainerTest, NonFiniteStepsAreSkippedWhenAskedFor) {
  Recorder recorder;
  const TrainResult result =
      run({"optimizer.lr=1000", "optimizer.weight_decay=10", "train.epochs=20", "train.nan_policy=skip"},
          {&recorder});
  EXPECT_EQ(result.steps, 60);
  EXPECT_TRUE(
      std::any_of(recorder.steps.begin(), recorder.steps.end(), [](const auto& s) { return s.skipped; }));
  const SafetensorsFile weights = SafetensorsFile::read(out_ / "checkpoints" / "last.safetensors");
  for (const char* name : {"bn1.running_mean", "bn1.running_var", "conv1.weight"}) {
    const StoredTensor* tensor = weights.find(name);
    ASSERT_NE(tensor, nullptr);
    const auto* values = reinterpret_cast<const float*>(tensor->data.data());
    for (size_t i = 0; i < tensor->data.size() / sizeof(float); ++i)
      ASSERT_TRUE(std::isfinite(values[i])) << name;
  }
}

TEST_F(TrainerTest, ABatchLargerThanTheDataIsRefusedByName) {
  try {
    run({"train.batch=64"});
    FAIL() << "there are 48 samples";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_THAT(error.what(),
                ::testing::AllOf(::testing::HasSubstr("train.batch is 64"), ::testing::HasSubstr("48")));
  }
}

TEST_F(TrainerTest, BitsDoNotDependOnPauses) {
  Recorder flowing;
  run({}, {&flowing});
  const std::string expected = weights();
  std::filesystem::remove_all(out_);
  Recorder pausing;  // every step is waited for, reported and saved before the next one starts
  run({"checkpoint.every=1"}, {&pausing});
  EXPECT_EQ(weights(), expected);
  ASSERT_EQ(flowing.steps.size(), pausing.steps.size());
  for (size_t i = 0; i < flowing.steps.size(); ++i) {
    EXPECT_EQ(flowing.steps[i].step, static_cast<int64_t>(i) + 1);
    EXPECT_EQ(flowing.steps[i].loss, pausing.steps[i].loss);
    EXPECT_EQ(flowing.steps[i].gradient_norm, pausing.steps[i].gradient_norm);
    EXPECT_EQ(flowing.steps[i].top1_accuracy, pausing.steps[i].top1_accuracy);
    EXPECT_EQ(flowing.steps[i].epoch, pausing.steps[i].epoch);
  }
}

TEST_F(TrainerTest, ARunKilledBeforeItsFirstStateIsResumedToTheSameBits) {
  const std::vector<std::string> averaged = {"optimizer.ema_decay=0.9"};
  run(averaged);
  const std::string expected = weights();
  std::filesystem::remove_all(out_);
  const std::unique_ptr<Backend> backend = make_backend("cpu", {.threads = 2});
  SmallRunTest::run(*backend, averaged, {}, true);  // there is no state: the averages begin at the weights
  EXPECT_EQ(weights(), expected);
}

TEST_F(TrainerTest, ALongerRunGoesOnWithTheBitsOfOneAsLongFromTheStart) {
  const std::vector<std::string> schedule = {"schedule.kind=multistep", "schedule.milestones=[3]"};
  const auto with = [&](std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), schedule.begin(), schedule.end());
    return overrides;
  };
  run(with({"train.epochs=5"}));
  const std::string expected = weights();
  std::filesystem::remove_all(out_);
  run(with({"train.epochs=0", "train.steps=7"}));  // ends within the third epoch
  const std::unique_ptr<Backend> backend = make_backend("cpu", {.threads = 2});
  SmallRunTest::run(*backend, with({"train.epochs=5"}), {}, true);
  EXPECT_EQ(weights(), expected);
  EXPECT_THROW(SmallRunTest::run(*backend, {"train.epochs=6", "schedule.kind=cosine"}, {}, true), Error);
  std::filesystem::remove_all(out_);
  run({"schedule.kind=cosine"});
  EXPECT_THROW(SmallRunTest::run(*backend, {"schedule.kind=cosine", "train.epochs=7"}, {}, true), Error);
}

std::vector<float> tensor_of(const std::filesystem::path& file, const std::string& name) {
  const SafetensorsFile weights = SafetensorsFile::read(file);
  const StoredTensor* tensor = weights.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  const auto* values = reinterpret_cast<const float*>(tensor->data.data());
  return {values, values + tensor->data.size() / sizeof(float)};
}

TEST_F(TrainerTest, StartsFromWeightsBitForBit) {
  run({});
  const std::filesystem::path start = out_.string() + ".safetensors", last = "checkpoints/last.safetensors";
  std::filesystem::copy_file(out_ / last, start, std::filesystem::copy_options::overwrite_existing);
  std::filesystem::remove_all(out_);
  const std::vector<std::string> from = {"train.weights=" + start.string(), "train.epochs=1",
                                         "optimizer.lr=0", "optimizer.ema_decay=0.5"};
  run(from);  // at a rate of 0: neither weights nor their averages may move, statistics do
  for (const char* name : {"conv1.weight", "layer3.0.bn2.bias", "fc.weight", "fc.bias"}) {
    EXPECT_EQ(tensor_of(out_ / last, name), tensor_of(start, name)) << name;
  }
  std::filesystem::remove_all(out_);
  std::vector<std::string> more_classes = from;
  more_classes.emplace_back("model.classes=6");
  run(more_classes);
  EXPECT_EQ(tensor_of(out_ / last, "conv1.weight"), tensor_of(start, "conv1.weight"));
  EXPECT_EQ(tensor_of(out_ / last, "fc.weight").size(), 6u * 64);
  std::filesystem::remove_all(out_);
  try {
    run({"train.weights=" + start.string(), "model.name=cifar_resnet14"});
    FAIL() << "a ResNet-8 lacks the second blocks of a ResNet-14";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCheckpoint);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("30 missing (first layer1.1.conv1.weight"));
  }
  std::filesystem::remove(start);
}

TEST_F(TrainerTest, AveragedWeightsHaveAveragedStatistics) {
  run({"train.epochs=1", "optimizer.ema_decay=0.75", "checkpoint.every=1", "checkpoint.keep=9"});
  std::vector<std::filesystem::path> states;  // in the order of their steps
  for (const auto& entry : std::filesystem::directory_iterator(out_ / "checkpoints")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("state-") && name.ends_with(".safetensors")) states.push_back(entry.path());
  }
  std::sort(states.begin(), states.end());
  ASSERT_EQ(states.size(), 3u);
  for (const std::string name : {"bn1.running_mean", "layer3.0.bn2.running_var", "fc.weight"}) {
    for (size_t step = 1; step < states.size(); ++step) {
      const std::vector<float> before = tensor_of(states[step - 1], "ema." + name),
                               now = tensor_of(states[step], name),
                               averaged = tensor_of(states[step], "ema." + name);
      ASSERT_EQ(averaged.size(), now.size());
      for (size_t i = 0; i < now.size(); ++i) {
        const double expected = 0.75 * double{before[i]} + 0.25 * double{now[i]};
        ASSERT_NEAR(averaged[i], expected, 1e-6 * std::max(1.0, std::abs(expected))) << name << " " << i;
      }
      EXPECT_NE(averaged, now) << name;
    }
  }
  EXPECT_EQ(tensor_of(out_ / "checkpoints/last.safetensors", "bn1.running_mean"),
            tensor_of(states.back(), "ema.bn1.running_mean"))
      << "what is evaluated and exported";
}

/// Counts the bytes of what a step reads.
class UploadCounter final : public BackendWrapper {
 public:
  using BackendWrapper::BackendWrapper;
  void upload(std::byte* dst, const void* src, size_t bytes) override {
    uploaded += bytes;
    BackendWrapper::upload(dst, src, bytes);
  }
  size_t uploaded = 0;
};

TEST_F(TrainerTest, OnTheCpuAStepIsReportedBeforeTheNextOneBegins) {
  const std::unique_ptr<Backend> cpu = make_backend("cpu", {.threads = 1});
  UploadCounter counter(*cpu);
  struct Uploaded : TrainObserver {
    explicit Uploaded(const UploadCounter& of) : counter(of) {}
    void on_step(const StepReport&) override { at_step.push_back(counter.uploaded); }
    const UploadCounter& counter;
    std::vector<size_t> at_step;
  } observer(counter);
  SmallRunTest::run(counter, {"train.epochs=1"}, {&observer});
  ASSERT_EQ(observer.at_step.size(), 3u);
  ASSERT_GT(observer.at_step[0], 0u);
  EXPECT_EQ(observer.at_step[1], 2 * observer.at_step[0]) << "else a step's time would be that of the next";
  EXPECT_EQ(observer.at_step[2], 3 * observer.at_step[0]);
}

TEST_F(TrainerTest, LabelsTheModelHasNoClassForAreRefusedByName) {
  try {
    run({"model.classes=3"});
    FAIL() << "label 3 of four classes";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kData);
    EXPECT_THAT(error.what(), ::testing::AllOf(::testing::HasSubstr("has label 3"),
                                               ::testing::HasSubstr("model.classes = 3 are 0 to 2")));
  }
  EXPECT_FALSE(std::filesystem::exists(out_ / "recipe.toml")) << "before anything is started";
}

TEST_F(TrainerTest, SplitsOfDifferentClassesAreRefused) {
  const Recipe recipe = small_recipe({});
  const std::unique_ptr<Backend> backend = make_backend("cpu", {.threads = 1});
  try {
    train(recipe, model_builder(recipe), *brightness_data(), *noise_data(8), *backend, {out_, false, {}});
    FAIL() << "four classes and ten";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kData);
    EXPECT_STREQ(error.what(), "the training split has 4 classes and the test split 10");
  }
}

TEST(MemoryFit, FindsTheLargestValueThatFits) {
  const auto square = [](int64_t n) { return static_cast<size_t>(n * n); };
  EXPECT_EQ(largest_fitting(100, 49, square), 7);
  EXPECT_EQ(largest_fitting(100, 48, square), 6);
  EXPECT_EQ(largest_fitting(5, 1000, square), 5);
  EXPECT_EQ(largest_fitting(5, 0, square), 0);
  EXPECT_EQ(largest_fitting(0, 10, square), 0);
}

}  // namespace
}  // namespace residuum
