// The autotuner: that the fastest by given times is taken and what is wrong or hopeless is left out, what the
// cache file keeps and for whom, and that training goes on as without it.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "engine/backend/cuda/autotune/autotuner.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/cuda/stand_in_libraries.h"
#include "tests/support/compare.h"
#include "tests/support/small_run.h"

namespace residuum::cuda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Header = AutotuneCache::Header;

namespace fs = std::filesystem;

/// Times by candidate; 1 us for one that has none.
class GivenTimes : public Stopwatch {
 public:
  explicit GivenTimes(std::map<std::string, double> times, int* calls = nullptr)
      : times_(std::move(times)), calls_(calls) {}
  double microseconds(const std::string& candidate, const std::function<void()>& work) override {
    work();
    if (calls_ != nullptr) ++*calls_;
    const auto found = times_.find(candidate);
    return 1000 * (found == times_.end() ? 1 : found->second);  // a millisecond: one run a recording
  }

 private:
  std::map<std::string, double> times_;
  int* calls_;
};

/// Tests run beside each other, so that files are named after them.
std::string test_name() {
  return ::testing::UnitTest::GetInstance()->current_test_info()->name();
}

class Autotune : public StandInTest {
 protected:
  Autotune() : file_(fs::path(::testing::TempDir()) / ("autotune_test_" + test_name()) / "cache.json") {
    fs::remove_all(file_.parent_path());
  }
  ~Autotune() override { fs::remove_all(file_.parent_path()); }

  Autotuner tuner(std::map<std::string, double> times, int* calls = nullptr,
                  const Header& header = {{"device", "one"}}) {
    return Autotuner(*device_, AutotuneCache(file_, header), std::make_unique<GivenTimes>(times, calls));
  }
  nlohmann::json file() const { return parse_json(read_text_file(file_)); }

  fs::path file_;
};

TEST_F(Autotune, TheFastestByTheMedianIsTaken) {
  const FusedApply fused;
  const auto list = candidates(fused.chain, fused.group);
  ASSERT_THAT(names(list), ElementsAre("own", "separate"));
  EXPECT_EQ(tuner({{"own", 2}, {"separate", 3}}, nullptr, {{"device", "a"}})
                .choose(fused.chain.graph, fused.group, list, {}),
            0u);
  EXPECT_EQ(tuner({{"own", 2}, {"separate", 1}}, nullptr, {{"device", "b"}})
                .choose(fused.chain.graph, fused.group, list, {}),
            1u);
  EXPECT_EQ(tuner({}, nullptr, {{"device", "c"}}).choose(fused.chain.graph, fused.group, list, {}), 0u)
      << "of equals the first";
}

TEST_F(Autotune, ShapesAreMeasuredOnceAndKeptInTheFile) {
  const FusedApply fused;
  const auto list = candidates(fused.chain, fused.group);
  int calls = 0;
  {
    Autotuner first = tuner({{"own", 2}, {"separate", 1.5}}, &calls);
    EXPECT_EQ(first.choose(fused.chain.graph, fused.group, list, {}), 1u);
    const int measured = calls;
    EXPECT_GT(measured, 0);
    EXPECT_EQ(first.choose(fused.chain.graph, fused.group, list, {}), 1u);
    EXPECT_EQ(calls, measured) << "measured again in one process";
    EXPECT_EQ(first.summary(),
              fmt::format("autotuner: 1 shapes, 1 separate; cache {} (1 new)", file_.string()));
  }
  const nlohmann::json section = file().at("sections").at(0);
  EXPECT_EQ(section.at("header"), (nlohmann::json{{"device", "one"}}));
  const nlohmann::json entry = section.at("entries").at(0);
  EXPECT_EQ(entry.at("choice"), "separate");
  EXPECT_EQ(entry.at("microseconds"), (nlohmann::json{{"own", 2000.0}, {"separate", 1500.0}}));

  calls = 0;
  Autotuner second = tuner({{"own", 1}, {"separate", 2}}, &calls);
  EXPECT_EQ(second.choose(fused.chain.graph, fused.group, list, {}), 1u) << "the file's choice";
  EXPECT_EQ(calls, 0);
  EXPECT_THAT(second.summary(), HasSubstr("(0 new)"));
  Autotuner other_chip = tuner({{"own", 1}, {"separate", 2}}, &calls, {{"device", "two"}});
  EXPECT_EQ(other_chip.choose(fused.chain.graph, fused.group, list, {}), 0u);
  EXPECT_GT(calls, 0) << "times of another chip were used";
  EXPECT_EQ(file().at("sections").size(), 2u) << "the other chip's times are kept";
}

TEST_F(Autotune, ACandidateThatIsNewIsMeasured) {
  const FusedApply fused;
  auto list = candidates(fused.chain, fused.group);
  ASSERT_EQ(tuner({{"own", 1}, {"separate", 2}}).choose(fused.chain.graph, fused.group, list, {}), 0u);
  list.push_back(list[1]);
  list.back().name = "new";
  EXPECT_EQ(tuner({{"own", 2}, {"separate", 2}, {"new", 1}}).choose(fused.chain.graph, fused.group, list, {}),
            2u);
}

TEST_F(Autotune, WhatIsFarSlowerIsTimedOnce) {
  const FusedApply fused;
  const auto list = candidates(fused.chain, fused.group);
  constexpr int kRounds = 5;
  const auto calls_for = [&](double own, double separate, const std::string& device) {
    int calls = 0;
    tuner({{"own", own}, {"separate", separate}}, &calls, {{"device", device}})
        .choose(fused.chain.graph, fused.group, list, {});
    return calls;
  };
  EXPECT_EQ(calls_for(1, 2.9, "a"), 2 + 2 * kRounds);
  EXPECT_EQ(calls_for(1, 3.1, "b"), 2 + kRounds);
  EXPECT_EQ(calls_for(9, 2, "c"), 2 + kRounds) << "the first one as well";
  const nlohmann::json slow = file().at("sections").at(2).at("entries").at(0);
  EXPECT_EQ(slow.at("choice"), "separate");
  EXPECT_EQ(slow.at("microseconds"), (nlohmann::json{{"own", 9000.0}, {"separate", 2000.0}}));
}

TEST_F(Autotune, WrongAndFailingCandidatesAreLeftOut) {
  const FusedApply fused;
  const Graph& graph = fused.chain.graph;
  auto list = candidates(fused.chain, fused.group);
  const auto broken = [&](const std::string& name, std::function<void(const Bound&)> enqueue) {
    Candidate candidate = list[0];
    candidate.name = name;
    candidate.steps.at(0).enqueue = std::move(enqueue);
    list.push_back(candidate);
  };
  const kernels::Rows rows{18, 16, kernels::Element::kF32};
  broken("source instead",
         [=](const Bound& b) { kernels::cast(rows, b.in[0], rows.type, b.out[0], b.stream); });
  broken("unwritten", [](const Bound&) {});
  broken("refused", [](const Bound&) { throw kernels::LaunchError(1, "never works"); });
  const std::map<std::string, double> times = {{"own", 5}, {"separate", 4}};  // the broken ones take 1
  EXPECT_EQ(tuner(times).choose(graph, fused.group, list, {}), 1u);
  const nlohmann::json excluded = file().at("sections").at(0).at("entries").at(0).at("excluded");
  EXPECT_THAT(excluded.at("source instead").get<std::string>(), HasSubstr("relative error"));
  EXPECT_THAT(excluded.at("unwritten").get<std::string>(), HasSubstr("nan"));
  EXPECT_THAT(excluded.at("refused").get<std::string>(), HasSubstr("never works"));
}

/// A mask with one bit of eight wrong, and one that is not written.
TEST_F(Autotune, WrongMasksAreLeftOut) {
  GraphChain chain;
  const ValueId src = chain.input("src", DType::kBF16, uniform_tensor({2, 3, 3, 16}, 1));
  const std::vector<ValueId> results = chain.graph.add_node("relu", ReluMask{}, {src});
  chain.result({results[0]});
  const Group group = {{0}, {}};
  std::vector<Candidate> list = candidates_of(chain.graph, group, {}, {});
  const size_t mask_bytes = chain.graph.desc(results[1]).bytes();
  const auto own = list[0].steps.at(0).enqueue;
  const auto add = [&](const std::string& name, std::function<void(const Bound&)> enqueue) {
    list.push_back(list[0]);
    list.back().name = name;
    list.back().steps[0].enqueue = std::move(enqueue);
    list.back().steps[0].scratch_bytes = mask_bytes;
  };
  add("one bit", [=](const Bound& b) {
    own(b);
    emulator::enqueue(b.stream, [mask = b.out[1], mask_bytes] {
      for (size_t i = 0; i < mask_bytes; ++i) mask[i] ^= std::byte{1};
    });
  });
  add("unwritten", [=](Bound b) {
    b.out[1] = b.scratch;
    own(b);
  });
  EXPECT_EQ(tuner({{"own", 5}}).choose(chain.graph, group, list, {}), 0u);
  const nlohmann::json excluded = file().at("sections").at(0).at("entries").at(0).at("excluded");
  for (const char* name : {"one bit", "unwritten"})
    EXPECT_THAT(excluded.at(name).get<std::string>(), HasSubstr("differing bits")) << name;
}

TEST_F(Autotune, WithoutMemoryTheFirstIsTakenAndNothingKept) {
  const FusedApply fused;
  const auto list = candidates(fused.chain, fused.group);
  Autotuner without = tuner({{"own", 2}, {"separate", 1}});
  emulator::set_memory(emulator::device_bytes() + 100);
  EXPECT_EQ(without.choose(fused.chain.graph, fused.group, list, {}), 0u);
  EXPECT_THAT(without.summary(), HasSubstr("1 not measured"));
  EXPECT_FALSE(fs::exists(file_));
}

TEST_F(Autotune, NothingIsMeasuredAfterItWasStopped) {
  const FusedApply known, unknown(32);
  Autotuner stopped = tuner({{"own", 2}, {"separate", 1}});
  const auto choose = [&](const FusedApply& fused) {
    return stopped.choose(fused.chain.graph, fused.group, candidates(fused.chain, fused.group), {});
  };
  ASSERT_EQ(choose(known), 1u);
  stopped.stop_measuring();
  EXPECT_EQ(choose(known), 1u);
  EXPECT_EQ(choose(unknown), 0u);
}

TEST_F(Autotune, ADamagedFileIsReplaced) {
  make_directories(file_.parent_path());
  const std::vector<std::string> damages = {
      "", "{\"format\": \"residuum autotune 1\"", "[1, 2]", "{\"format\": \"another\", \"sections\": []}",
      "{\"format\": \"residuum autotune 1\", \"sections\": [{\"header\": {\"device\": \"one\"}, \"entries\": "
      "[{\"group\": 7}]}]}"};
  for (const std::string& damage : damages) {
    write_file_atomically(file_, damage);
    AutotuneCache cache(file_, {{"device", "one"}});
    EXPECT_EQ(cache.find("group"), nullptr) << damage;
    cache.add("group", {"own", {{"own", 1}}, {}});
    EXPECT_EQ(file().at("sections").at(0).at("entries").size(), 1u) << damage;
  }
}

TEST_F(Autotune, TwoWritersKeepBothTheirEntries) {
  const Header one{{"device", "one"}}, two{{"device", "two"}};
  const Measured measured{"own", {{"own", 1}, {"cudnn", 2}}, {{"cudnn 2", "wrong"}}};
  AutotuneCache first(file_, one), second(file_, one), third(file_, two);
  first.add("a", measured);
  second.add("b", measured);
  third.add("c", measured);
  first.add("d", measured);
  const AutotuneCache of_one(file_, one), of_two(file_, two);
  for (const char* group : {"a", "b", "d"}) {
    ASSERT_NE(of_one.find(group), nullptr) << group;
    EXPECT_EQ(*of_one.find(group), measured);
  }
  EXPECT_EQ(of_one.find("c"), nullptr);
  EXPECT_NE(of_two.find("c"), nullptr);
}

TEST_F(Autotune, AFileThatCannotBeWrittenCostsNothingElse) {
  make_directories(file_.parent_path());
  AutotuneCache cache(file_, {{"device", "one"}});
  inject_file_faults("rename:1:ENOSPC");
  cache.add("a", {"own", {{"own", 1}}, {}});
  inject_file_faults("");
  EXPECT_NE(cache.find("a"), nullptr);
  EXPECT_FALSE(fs::exists(file_));
}

/// Training runs that find their choices in a file.
class AutotunedTraining : public SmallRunTest {
 protected:
  AutotunedTraining() {
    emulator::reset();
    setenv("RESIDUUM_CUDNN_LIBRARY", RESIDUUM_CUDNN_STAND_IN, 1);
    setenv("RESIDUUM_CUBLAS_LIBRARY", RESIDUUM_CUBLAS_STAND_IN, 1);
    file_ = out_.string() + "-autotune.json";
    fs::remove(file_);
  }
  ~AutotunedTraining() override {
    fs::remove(file_);
    fs::remove(file_.string() + ".lock");
    emulator::reset();
  }

  /// The losses of two steps; what the backend says of itself goes to `description_`.
  reference::Tensor losses(const BackendOptions& options) {
    const std::unique_ptr<Backend> backend = make_backend("cuda", options);
    Recorder recorder;
    SmallRunTest::run(
        *backend,
        {"train.batch=4", "train.eval_batch=4", "train.eval_every=0", "train.epochs=0", "train.steps=2"},
        {&recorder});
    description_ = backend->describe();
    reference::Tensor losses({static_cast<int64_t>(recorder.steps.size())});
    for (size_t i = 0; i < recorder.steps.size(); ++i) losses.data[i] = recorder.steps[i].loss;
    fs::remove_all(out_);
    return losses;
  }
  /// Makes the last usable candidate the choice of every group.
  void choose_the_last() const {
    nlohmann::ordered_json file = parse_json<nlohmann::ordered_json>(read_text_file(file_));
    for (auto& entry : file.at("sections").at(0).at("entries")) {
      EXPECT_TRUE(entry.at("excluded").empty()) << json_text(entry);
      for (const auto& [name, time] : entry.at("microseconds").items()) entry["choice"] = name;
    }
    write_file_atomically(file_, json_text(file));
  }

  fs::path file_;
  std::string description_;
};

TEST_F(AutotunedTraining, AgreesWithTrainingWithoutIt) {
  const reference::Tensor expected = losses({});
  const BackendOptions options{.autotune = true, .autotune_cache = file_.string()};
  EXPECT_EQ(losses(options).data, expected.data) << "the emulator's clock: all are equal, own is first";
  EXPECT_THAT(description_, HasSubstr(" own; cache " + file_.string()));
  EXPECT_THAT(description_, Not(HasSubstr("(0 new)")));

  choose_the_last();
  const Tolerance tolerance{"other-kernels", "f32 rounded in another order, through two steps", 1e-4, 0};
  EXPECT_TRUE(matches(losses(options), expected, tolerance));
  EXPECT_THAT(description_, HasSubstr(" cudnn 2"));
  EXPECT_THAT(description_, HasSubstr("(0 new)"));
}

TEST_F(AutotunedTraining, NeedsNoLibrary) {
  setenv("RESIDUUM_CUDNN_LIBRARY", "no_such_cudnn.so", 1);
  setenv("RESIDUUM_CUBLAS_LIBRARY", "no_such_cublas.so", 1);
  const auto backend = make_backend("cuda", {.autotune = true});
  EXPECT_THAT(backend->describe(), HasSubstr("autotuner: 0 shapes"));
  EXPECT_THAT(backend->describe(), Not(HasSubstr("cuDNN")));
  EXPECT_THROW(make_backend("cuda", {.cudnn = true, .autotune = true}), Error);
}

}  // namespace
}  // namespace residuum::cuda
