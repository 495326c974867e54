// What a resumed run must not show: that it was broken off. Bits of the weights, lines of the metrics, and
// what is refused because it would change them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <functional>
#include <numeric>

#include "engine/checkpoint/store.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/train/metrics_observer.h"
#include "models/recipe_model.h"
#include "tests/support/error_of.h"
#include "tests/support/small_run.h"

namespace residuum {
namespace {

/// The brightness data, calling a function before each read.
class WatchedData final : public Dataset {
 public:
  explicit WatchedData(std::function<void(int64_t index)> before_read)
      : before_read_(std::move(before_read)) {}
  int64_t size() const override { return data_->size(); }
  const std::vector<std::string>& classes() const override { return data_->classes(); }
  int32_t label(int64_t index) const override { return data_->label(index); }
  void read(int64_t index, Image& image) const override {
    before_read_(index);
    data_->read(index, image);
  }
  std::optional<ImageShape> image_shape() const override { return data_->image_shape(); }
  std::string describe(int64_t index) const override { return data_->describe(index); }

 private:
  std::unique_ptr<Dataset> data_ = brightness_data();
  std::function<void(int64_t)> before_read_;
};

/// A function for WatchedData that sends this process SIGTERM before the n-th read, counted from 1.
std::function<void(int64_t)> terminate_at(int read) {
  return [left = read](int64_t) mutable {
    if (--left == 0) std::raise(SIGTERM);
  };
}

/// Counts evaluations.
struct EvaluationCounter : TrainObserver {
  void on_evaluation(const EvaluationReport& report) override { steps.push_back(report.step); }
  std::vector<int64_t> steps;
};

class TrainerResumeTest : public SmallRunTest {
 protected:
  using Lines = std::vector<nlohmann::ordered_json>;

  TrainResult run(const std::vector<std::string>& overrides, bool resume, const Dataset& train_data,
                  const Dataset& test_data, TrainObserver* further = nullptr) const {
    const Recipe recipe = small_recipe(overrides);
    const std::unique_ptr<Backend> backend = make_backend("cpu", {.threads = 2});
    MetricsObserver metrics;
    std::vector<TrainObserver*> observers = {&metrics};
    if (further != nullptr) observers.push_back(further);
    return train(recipe, model_builder(recipe), train_data, test_data, *backend, {out_, resume, observers});
  }
  TrainResult run(const std::vector<std::string>& overrides, bool resume = false,
                  TrainObserver* further = nullptr) const {
    return run(overrides, resume, *brightness_data(), *brightness_data(), further);
  }
  /// The lines of the metrics, without what the clock decides.
  Lines lines() const {
    Lines found = read_metrics(out_ / "metrics.jsonl");
    for (nlohmann::ordered_json& line : found) {
      for (const char* key : {"wall_time", "train/images_per_second", "train/data_share"}) line.erase(key);
    }
    return found;
  }
  /// Of a run that nothing interrupts; leaves no files.
  struct Whole {
    std::string weights;
    Lines lines;
    TrainResult result;
  };
  Whole whole(const std::vector<std::string>& overrides) const {
    const TrainResult result = run(overrides);
    Whole whole{weights(), lines(), result};
    std::filesystem::remove_all(out_);
    return whole;
  }
  static bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }
  void expect_same(const Whole& expected, const TrainResult& found) const {
    EXPECT_FALSE(found.interrupted);
    EXPECT_EQ(found.steps, expected.result.steps);
    EXPECT_EQ(found.last.top1, expected.result.last.top1);
    EXPECT_TRUE(same(found.last.loss, expected.result.last.loss)) << found.last.loss;
    EXPECT_TRUE(same(found.best.loss, expected.result.best.loss)) << found.best.loss;
    EXPECT_EQ(weights(), expected.weights);
    EXPECT_EQ(lines(), expected.lines);
  }
};

const std::vector<std::string> kAveraged = {"optimizer.ema_decay=0.5", "train.log_every=3"};

TEST_F(TrainerResumeTest, AnEvaluationIsBrokenOffWithinABatchAndDoneAgain) {
  const Whole expected = whole(kAveraged);
  // Reads 1 to 48 are those of the evaluation after step 3, in batches of 20; the last one is after step 18.
  for (const int read : {1, 25, 5 * 48 + 3}) {
    SCOPED_TRACE(read);
    EvaluationCounter counter;
    const WatchedData test_data(terminate_at(read));
    const TrainResult stopped = run(kAveraged, false, *brightness_data(), test_data, &counter);
    EXPECT_TRUE(stopped.interrupted);
    EXPECT_EQ(stopped.steps, read < 48 ? 3 : 18);
    EXPECT_EQ(counter.steps.size(), read < 48 ? 0u : 5u) << "what was broken off is not reported";
    counter.steps.clear();
    expect_same(expected, run(kAveraged, true, &counter));
    EXPECT_EQ(counter.steps.size(), read < 48 ? 6u : 1u);
    std::filesystem::remove_all(out_);
  }
}

TEST_F(TrainerResumeTest, ASignalInTheLastStepOfAnEpochBeginsNoEvaluation) {
  const Whole expected = whole(kAveraged);
  for (const int read : {48, 6 * 48}) {  // the last sample of the first and of the last epoch
    int evaluated = 0;
    const WatchedData train_data(terminate_at(read)), test_data([&](int64_t) { ++evaluated; });
    const TrainResult stopped = run(kAveraged, false, train_data, test_data);
    EXPECT_TRUE(stopped.interrupted);
    EXPECT_EQ(evaluated, read == 48 ? 0 : 5 * 48);
    expect_same(expected, run(kAveraged, true));
    std::filesystem::remove_all(out_);
  }
}

TEST_F(TrainerResumeTest, ALineOfTheLogIsTheMeanOfAllItsStepsThoughTheRunStopsAmongThem) {
  const std::vector<std::string> averaged = {"train.log_every=5", "train.nan_policy=skip"};
  const Whole expected = whole(averaged);
  for (const int read : {16 + 1, 7 * 16 + 1, 13 * 16}) {
    SCOPED_TRACE(read);
    const WatchedData train_data(terminate_at(read));
    const TrainResult stopped = run(averaged, false, train_data, *brightness_data());
    EXPECT_TRUE(stopped.interrupted);
    EXPECT_NE(stopped.steps % 5, 0) << "else there is nothing to remember";
    expect_same(expected, run(averaged, true));
    std::filesystem::remove_all(out_);
  }
}

TEST_F(TrainerResumeTest, UnreadableSamplesOfEarlierProcessesCount) {
  const auto fails = [](int64_t index) {
    check(index != 7 && index != 30, ErrorKind::kData, "sample {} is damaged", index);
  };
  const WatchedData damaged(fails);
  const std::vector<std::string> one_epoch = {"train.epochs=1", "data.bad_sample_limit=2"};
  run(one_epoch, false, damaged, *brightness_data());
  // Meeting a third one in the second epoch is one too many, whoever met the first two.
  const WatchedData worse([&](int64_t index) {
    fails(index);
    check(index != 11, ErrorKind::kData, "sample {} is damaged", index);
  });
  const std::vector<std::string> two_epochs = {"train.epochs=2", "data.bad_sample_limit=2"};
  const auto resumed = [&](const std::vector<std::string>& overrides) {
    return run(overrides, true, worse, *brightness_data());
  };
  EXPECT_THAT(error_of(ErrorKind::kData, [&] { resumed(two_epochs); }), ::testing::HasSubstr("limit is 2"));
  const TrainResult result = resumed({"train.epochs=2", "data.bad_sample_limit=3"});
  EXPECT_EQ(result.steps, 6) << "a raised limit lets the run go on";
}

TEST_F(TrainerResumeTest, ARunThatNumbersStoppedGoesOnSkippingSteps) {
  std::vector<std::string> diverging = {"optimizer.lr=1000", "optimizer.weight_decay=10", "train.epochs=20",
                                        "train.nan_policy=skip"};
  const Whole expected = whole(diverging);
  diverging.back() = "train.nan_policy=stop";
  EXPECT_THAT(error_of(ErrorKind::kNumeric, [&] { run(diverging); }), ::testing::HasSubstr("goes on"));
  diverging.back() = "train.nan_policy=skip";
  expect_same(expected, run(diverging, true));
}

TEST_F(TrainerResumeTest, OtherDataAreRefusedWithTheDifference) {
  run({"train.epochs=1"});
  const std::shared_ptr<const Dataset> all = brightness_data();
  const auto resumed_with = [&](std::vector<int64_t> samples) {
    const std::unique_ptr<Dataset> train_data = subset(all, std::move(samples));
    return error_of(ErrorKind::kData, [&] { run({"train.epochs=2"}, true, *train_data, *all); });
  };
  std::vector<int64_t> samples(48);
  std::iota(samples.begin(), samples.end(), 0);
  std::swap(samples[0], samples[1]);  // as many, with other labels
  EXPECT_THAT(resumed_with(samples), ::testing::AllOf(::testing::HasSubstr("\n  training_labels: saved "),
                                                      ::testing::Not(::testing::HasSubstr("test_labels"))));
  samples.pop_back();
  EXPECT_THAT(resumed_with(samples), ::testing::HasSubstr("\n  training_samples: saved 48, now 47"));
}

/// Has the disk refuse the best weights, in the way that `faults` says, when they are saved first.
struct RefusesTheBest : TrainObserver {
  explicit RefusesTheBest(const char* with) : faults(with) {}
  void on_evaluation(const EvaluationReport& report) override {
    if (!report.best) return;
    best_step = report.step;
    refuses = true;
  }
  void on_save(int64_t) override {
    inject_file_faults(refuses ? faults : "");
    refuses = false;
  }
  ~RefusesTheBest() override { inject_file_faults(""); }
  const char* faults;
  int64_t best_step = 0;
  bool refuses = false;
};

TEST_F(TrainerResumeTest, TheBestWeightsAreSavedLaterWhereTheDiskRefusedThem) {
  const std::filesystem::path best = out_ / "checkpoints" / "best.safetensors";
  const auto saved_step = [&] { return SafetensorsFile::read(best).metadata().at("step"); };
  const std::vector<std::string> long_enough = {"train.epochs=15"};  // to have no error well before the end
  const TrainResult usual = run(long_enough);
  const std::string expected = saved_step(), bytes = read_text_file(best);
  ASSERT_LT(std::stoll(expected), usual.steps) << "the last evaluation must not be the best one";
  // The state fails; then the best weights alone: each file is opened and then its directory, and on a full
  // disk the store tries once more.
  for (const char* faults : {"open:1:EIO", "open:3:ENOSPC|open:6:ENOSPC"}) {
    std::filesystem::remove_all(out_);
    RefusesTheBest disk(faults);
    run(long_enough, false, &disk);
    EXPECT_EQ(std::to_string(disk.best_step), expected);
    EXPECT_EQ(saved_step(), expected);
    EXPECT_EQ(read_text_file(best), bytes);
  }
}

TEST_F(TrainerResumeTest, AFullDiskThatHasNoRoomForTheBestWeightsStillGetsStates) {
  struct : TrainObserver {
    void on_save(int64_t step) override {
      inject_file_faults(step < 9 ? "open:3:ENOSPC" : "open:3:ENOSPC|open:6:ENOSPC");  // see above
    }
  } disk;
  try {
    run({"train.epochs=3"}, false, &disk);
    ADD_FAILURE() << "the best weights are missing";
  } catch (const DiskFull& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("best.safetensors"));
  }
  inject_file_faults("");
  EXPECT_THAT(CheckpointStore(out_ / "checkpoints", 2).steps(), ::testing::Contains(9));
}

TEST_F(TrainerResumeTest, AReportTheDiskRefusesDoesNotEndARunThatSkipsSteps) {
  struct : TrainObserver {
    void on_step(const StepReport& report) override {  // files are opened at the ends of epochs, too
      inject_file_faults(report.step % 3 == 0 ? "" : "open:1:ENOSPC");
    }
  } full_disk;
  const TrainResult result = run({"optimizer.lr=1000", "optimizer.weight_decay=10", "train.epochs=20",
                                  "train.log_every=3", "train.nan_policy=skip"},
                                 false, &full_disk);
  inject_file_faults("");
  EXPECT_EQ(result.steps, 60);
}

TEST_F(TrainerResumeTest, AnEvaluationDoneAgainIsLoggedOnce) {
  const Whole expected = whole(kAveraged);
  const WatchedData test_data(terminate_at(1));
  run(kAveraged, false, *brightness_data(), test_data);
  const std::filesystem::path metrics = out_ / "metrics.jsonl";
  ASSERT_EQ(read_metrics(metrics).size(), 1u);
  // What a resumed run leaves that is killed between its evaluation and the state after it.
  AppendFile(metrics).write("{\"step\":3,\"epoch\":0,\"wall_time\":1.0,\"test_ema/top1\":0.5}\n");
  expect_same(expected, run(kAveraged, true));
}

}  // namespace
}  // namespace residuum
