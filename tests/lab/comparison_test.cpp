// Comparisons of trainings: what is trained and what is kept, means and deviations, divergence; and what nets
// can memorise.
#include "engine/lab/comparison.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/random.h"
#include "engine/data/memory_dataset.h"
#include "engine/lab/random_labels.h"
#include "models/recipe_model.h"
#include "tests/support/small_run.h"
#include "tests/support/test_device.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

class ComparisonTest : public SmallRunTest {
 protected:
  ComparisonResult compare(const std::vector<ComparisonCase>& cases, int64_t seeds,
                           const std::vector<std::string>& overrides = {}, bool may_train = true) {
    const std::unique_ptr<Dataset> data = brightness_data();
    const auto recipe = [&](const ComparisonCase& c, int64_t seed) {
      std::vector<std::string> all = c.overrides;
      all.insert(all.end(), overrides.begin(), overrides.end());
      all.push_back(fmt::format("train.seed={}", seed));
      all.emplace_back("train.log_every=3");
      return small_recipe(all);
    };
    const auto builder = [&](const Recipe& r) {
      EXPECT_TRUE(may_train) << "a finished run is trained again";
      return model_builder(r);
    };
    heard_.clear();
    return run_comparison(cases, {recipe, builder, *data, *data, "brightness", cpu_backend(2), out_, seeds,
                                  [&](const std::string& text) { heard_.push_back(text); }});
  }

  std::vector<std::string> heard_;
};

const std::vector<ComparisonCase> kTwins = {{"plain, 8", {"model.name=cifar_plain8"}, std::nullopt, false},
                                            {"residual, 8", {"model.name=cifar_resnet8"}, 8.75, false}};

TEST_F(ComparisonTest, TrainsEveryCaseWithEverySeedOnce) {
  const ComparisonResult first = compare(kTwins, 2);
  ASSERT_EQ(first.cases.size(), 2u);
  EXPECT_EQ(heard_.size(), 4u);
  std::set<double> losses;
  for (const CaseResult& result : first.cases) {
    ASSERT_EQ(result.runs.size(), 2u);
    for (const CaseRun& run : result.runs) {
      EXPECT_FALSE(run.diverged);
      EXPECT_LE(run.best_test_error, run.test_error);
      EXPECT_LT(run.best_test_error, 50) << "four classes of brightness are learned";
      ASSERT_FALSE(run.curve.empty());
      EXPECT_EQ(run.curve.back().step, 18);
      losses.insert(run.train_loss);
    }
    const double a = result.runs[0].train_loss, b = result.runs[1].train_loss;
    EXPECT_DOUBLE_EQ(result.of(&CaseRun::train_loss).mean, (a + b) / 2);
    EXPECT_NEAR(result.of(&CaseRun::train_loss).std, std::abs(a - b) / std::sqrt(2.0), 1e-12);
  }
  EXPECT_EQ(losses.size(), 4u) << "nets and seeds differ";
  EXPECT_TRUE(fs::exists(out_ / "runs" / "residual-8" / "seed-2" / "checkpoints" / "last.safetensors"));

  const ComparisonResult again = compare(kTwins, 2, {}, false);
  for (size_t i = 0; i < 2; ++i) {
    for (size_t s = 0; s < 2; ++s) {
      EXPECT_EQ(again.cases[i].runs[s].train_loss, first.cases[i].runs[s].train_loss);
      EXPECT_EQ(again.cases[i].runs[s].test_error, first.cases[i].runs[s].test_error);
    }
  }
  EXPECT_NE(heard_.at(0).find("finished before"), std::string::npos);
}

TEST_F(ComparisonTest, ARunWithoutItsResultGoesOnFromItsState) {
  const ComparisonResult whole = compare({kTwins[1]}, 1);
  fs::remove(out_ / "runs" / "residual-8" / "seed-1" / "result.json");
  const ComparisonResult resumed = compare({kTwins[1]}, 1);
  EXPECT_EQ(resumed.cases[0].runs[0].train_loss, whole.cases[0].runs[0].train_loss);
  EXPECT_EQ(resumed.cases[0].runs[0].test_error, whole.cases[0].runs[0].test_error);
}

TEST_F(ComparisonTest, RefusesToMixRecipes) {
  compare({kTwins[1]}, 1, {"train.epochs=1"});
  try {
    compare({kTwins[1]}, 1, {"train.epochs=2"});
    FAIL() << "the results of two recipes were mixed";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_NE(std::string(error.what()).find("another recipe"), std::string::npos) << error.what();
  }
}

TEST_F(ComparisonTest, ADivergedRunIsAResult) {
  const ComparisonResult result =
      compare({kTwins[0]}, 1, {"optimizer.lr=1000", "model.batch_norm=false", "train.epochs=20"});
  ASSERT_EQ(result.cases[0].runs.size(), 1u);
  EXPECT_TRUE(result.cases[0].runs[0].diverged);
  EXPECT_GE(result.cases[0].runs[0].test_error, 50);
}

TEST_F(ComparisonTest, DeepResidualNetsMemoriseRandomLabelsAndADeepPlainNetDoesNot) {
  const std::unique_ptr<Dataset> data = noise_data(8);  // nothing but memory relates image and label
  const auto recipe = [](const ComparisonCase& c, int64_t seed) {
    return parse_recipe(
        "[train]\nsteps = 70\nbatch = 32\nlog_every = 4\neval_every = 0\n[data]\nthreads = 0\n", "test",
        std::vector<std::string>{c.overrides.at(0), fmt::format("train.seed={}", seed)});
  };
  const ComparisonResult result =
      run_comparison({{"residual 20", {"model.name=cifar_resnet20"}, {}, false},
                      {"residual 56", {"model.name=cifar_resnet56"}, {}, false},
                      {"plain 56", {"model.name=cifar_plain56"}, {}, false}},
                     {recipe, model_builder, *data, *data, "noise", cpu_backend(1), out_, 1, {}});
  EXPECT_LT(result.cases[0].runs[0].train_error, 5);
  EXPECT_LT(result.cases[1].runs[0].train_error, 20);
  EXPECT_GT(result.cases[2].runs[0].train_error, 35) << "far from fitting: its loss does not fall";
  EXPECT_GT(result.cases[2].runs[0].train_loss, 1);
}

TEST(CaseDirectory, KeepsLettersAndDigits) {
  EXPECT_EQ(case_directory("exclusive gating, bias -6"), "exclusive-gating-bias-6");
  EXPECT_EQ(case_directory("constant scaling 0.5, 1"), "constant-scaling-0.5-1");
}

TEST(RandomLabels, AreUniformAndDependOnSeedAndSampleAlone) {
  const std::shared_ptr<const Dataset> data = brightness_data();
  const auto one = random_labels(data, 1), same = random_labels(data, 1), other = random_labels(data, 2);
  std::vector<int> counts(4, 0);
  int changed = 0;
  for (int64_t i = 0; i < data->size(); ++i) {
    EXPECT_EQ(one->label(i), same->label(i));
    EXPECT_EQ(one->load(i).pixels, data->load(i).pixels);
    changed += one->label(i) != other->label(i) ? 1 : 0;
    ++counts.at(static_cast<size_t>(one->label(i)));
  }
  EXPECT_GT(changed, 20) << "three quarters of 48";
  for (const int count : counts) EXPECT_GT(count, 4);
}

}  // namespace
}  // namespace residuum
