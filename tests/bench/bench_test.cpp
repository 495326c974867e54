// The benchmarks themselves: statistics, timing on a clock of the test's own, problems and their files, the
// check of results, ranking, steps and loading.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "bench/ceilings.h"
#include "bench/kernels.h"
#include "bench/loading.h"
#include "bench/step.h"
#include "engine/core/check.h"
#include "models/zoo.h"
#include "tests/support/backend_wrapper.h"
#include "tests/support/compare.h"
#include "tests/support/data_fixtures.h"
#include "tests/support/source_tree.h"
#include "tests/support/test_device.h"

namespace residuum::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

/// A clock that stands still until work moves it.
class GivenClock {
 public:
  class GivenTimer : public Timer {
   public:
    explicit GivenTimer(const double& now) : now_(now) {}
    void mark() override { marks_.push_back(now_); }
    std::vector<double> intervals() override {
      std::vector<double> seconds;
      for (size_t i = 1; i < marks_.size(); ++i) seconds.push_back(marks_[i] - marks_[i - 1]);
      marks_.clear();
      return seconds;
    }

   private:
    const double& now_;
    std::vector<double> marks_;
  };

  void pass(double seconds) { now_ += seconds; }
  double now() const { return now_; }
  GivenTimer timer() const { return GivenTimer(now_); }

 private:
  double now_ = 0;
};

TEST(Statistics, QuantilesLieBetweenNeighbours) {
  const std::vector<double> values = {50, 10, 40, 20, 30};  // numpy.quantile(values, q)
  EXPECT_DOUBLE_EQ(quantile(values, 0), 10);
  EXPECT_DOUBLE_EQ(quantile(values, 0.2), 18);
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 30);
  EXPECT_DOUBLE_EQ(quantile(values, 0.8), 42);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 50);
  EXPECT_DOUBLE_EQ(quantile({1, 2}, 0.5), 1.5);
  EXPECT_EQ(statistics_of({7}), (bench::Statistics{7, 7, 7, 1}));
  EXPECT_THROW(quantile({}, 0.5), Error);
}

TEST(Harness, KnownWorkGivesKnownTimes) {
  GivenClock clock;
  GivenClock::GivenTimer timer = clock.timer();
  double next = 1;
  const auto seconds = sample(
      timer, {4, 0},
      [&] {
        clock.pass(next);
        next *= 2;
      },
      [&] { clock.pass(1000); });  // what is done before is not counted
  EXPECT_THAT(seconds, ElementsAre(1, 2, 4, 8));
}

TEST(Harness, WarmUpLastsAsLongAsAskedAndRunsOnceAtLeast) {
  GivenClock clock;
  GivenClock::GivenTimer timer = clock.timer();
  int runs = 0;
  const auto work = [&] {
    ++runs;
    clock.pass(0.25);
  };
  EXPECT_DOUBLE_EQ(warm_up(timer, {1, 1.0}, work), 0.25);
  EXPECT_EQ(runs, 4);
  warm_up(timer, {1, 0}, work);
  EXPECT_EQ(runs, 5);
}

TEST(Harness, ShortWorkIsRepeated) {
  EXPECT_EQ(repeats_for(1, 1), 1u);
  EXPECT_EQ(repeats_for(1, 5), 5u);
  EXPECT_EQ(repeats_for(1e-4, 1), 5u);
  EXPECT_EQ(repeats_for(0, 1), 64u);
}

/// Says when it runs.
class NamedLaunch : public Launch {
 public:
  NamedLaunch(int name, std::vector<int>& runs) : name_(name), runs_(runs) {}
  size_t scratch_bytes() const override { return 0; }
  void bind(std::span<std::byte* const>, std::byte*) override {}
  void run(const StepParams&) override { runs_.push_back(name_); }
  Cost cost() const override { return {}; }

 private:
  int name_;
  std::vector<int>& runs_;
};

TEST(Harness, BuffersTakeTurns) {
  std::vector<int> runs;
  NamedLaunch a(1, runs), b(2, runs);
  record_in_turn(cpu_backend(1), {&a, &b}, 5)->run({});
  EXPECT_THAT(runs, ElementsAre(1, 2, 1, 2, 1));
}

TEST(Harness, TheCpuTimesAndCopies) {
  Backend& backend = cpu_backend(2);
  const std::unique_ptr<Timer> timer = backend.make_timer();
  EXPECT_TRUE(timer->intervals().empty());
  for (int i = 0; i < 3; ++i) timer->mark();
  const auto intervals = timer->intervals();
  ASSERT_EQ(intervals.size(), 2u);
  EXPECT_GE(intervals[0], 0);
  constexpr size_t kBytes = 1001;
  const auto from = backend.allocate(kBytes), to = backend.allocate(kBytes);
  for (size_t i = 0; i < kBytes; ++i) from->data()[i] = static_cast<std::byte>(i * 7);
  backend.copy(to->data(), from->data(), kBytes);
  EXPECT_EQ(std::memcmp(from->data(), to->data(), kBytes), 0);
}

TEST(Ceilings, RooflineIsTheLargerOfTwoTimes) {
  const Ceilings ceilings{100, 1000, "onednn", "f32", 0, 0};
  EXPECT_DOUBLE_EQ(ceilings.seconds_for(200, 1000), 2);
  EXPECT_TRUE(ceilings.memory_bound(200, 1000));
  EXPECT_DOUBLE_EQ(ceilings.seconds_for(200, 5000), 5);
  EXPECT_FALSE(ceilings.memory_bound(200, 5000));
}

/// A launch that takes a given time, longer as time goes by.
class PacedLaunch : public Launch {
 public:
  PacedLaunch(std::unique_ptr<Launch> inner, GivenClock& clock, double seconds, double slowing)
      : inner_(std::move(inner)), clock_(clock), seconds_(seconds), slowing_(slowing) {}
  size_t scratch_bytes() const override { return inner_->scratch_bytes(); }
  void bind(std::span<std::byte* const> addresses, std::byte* scratch) override {
    inner_->bind(addresses, scratch);
  }
  void run(const StepParams& params) override {
    inner_->run(params);
    clock_.pass(seconds_ * (1 + clock_.now() / slowing_));
  }
  Cost cost() const override { return inner_->cost(); }
  std::string implementation() const override { return inner_->implementation(); }

 private:
  std::unique_ptr<Launch> inner_;
  GivenClock& clock_;
  double seconds_, slowing_;
};

/// A device on which a launch takes 0.5 ms and a byte copied 1 ns; after `slowing` seconds a launch takes
/// twice as long.
class PacedBackend : public BackendWrapper {
 public:
  PacedBackend(Backend& inner, GivenClock& clock, double slowing = INFINITY)
      : BackendWrapper(inner), clock_(clock), slowing_(slowing) {}
  std::unique_ptr<Launch> prepare(const Graph& graph, const Group& group) override {
    return std::make_unique<PacedLaunch>(inner_.prepare(graph, group), clock_, 0.5e-3, slowing_);
  }
  void copy(std::byte* dst, const std::byte* src, size_t bytes) override {
    inner_.copy(dst, src, bytes);
    clock_.pass(1e-9 * static_cast<double>(bytes));
  }
  std::unique_ptr<Timer> make_timer() override {
    return std::make_unique<GivenClock::GivenTimer>(clock_.timer());
  }
  size_t cache_bytes() const override { return 1 << 16; }

 private:
  GivenClock& clock_;
  double slowing_;
};

TEST(Ceilings, OfADeviceWithKnownTimesAreKnown) {
  GivenClock clock;
  PacedBackend backend(cpu_backend(1), clock);
  const Ceilings ceilings = measure_ceilings(backend, DType::kF32, {1 << 16, 64}, {3, 0});
  EXPECT_NEAR(ceilings.copy_bytes_per_second, 2e9, 1);  // read and written
  EXPECT_NEAR(ceilings.flops_per_second, 2 * 64 * 64 * 64 / 0.5e-3, 1);
  EXPECT_NEAR(ceilings.launch_seconds, 0.5e-3, 1e-9);
  EXPECT_NEAR(ceilings.run_seconds, 0.5e-3, 1e-9);
}

TEST(Kernels, OfADeviceWithKnownTimesHaveKnownFigures) {
  GivenClock clock;
  PacedBackend backend(cpu_backend(1), clock);
  const Problem problem{ProblemKind::kConv, "c", {2, 8, 8, 16, 24, 3, 3, 1, 1, 1}, 1, false};
  const auto rows =
      measure_kernels({{"onednn", &backend, {}}}, problem, "conv", {Precision::kF32, {5, 0}, 4});
  ASSERT_EQ(rows.size(), 1u);
  ASSERT_EQ(rows[0].status, RowStatus::kMeasured) << rows[0].reason;
  for (const bench::Statistics& time : {rows[0].replay, rows[0].cold}) {  // flushing caches is not counted
    EXPECT_NEAR(time.median, 0.5e-3, 1e-9);
    EXPECT_NEAR(time.p80, 0.5e-3, 1e-9);
    EXPECT_EQ(time.samples, 5u);
  }
}

TEST(Kernels, ADeviceThatSlowsDownFavoursNobody) {
  GivenClock clock;
  PacedBackend first(cpu_backend(1), clock, 1.0), second(cpu_backend(1), clock, 1.0);
  const Problem problem{ProblemKind::kConv, "c", {2, 8, 8, 16, 24, 3, 3, 1, 1, 1}, 1, false};
  const double begin = clock.now();
  const auto rows = measure_kernels({{"onednn", &first, {}}, {"onednn", &second, {}}}, problem, "conv",
                                    {Precision::kF32, {40, 0}, 1});
  ASSERT_EQ(rows[1].status, RowStatus::kMeasured) << rows[1].reason;
  // Each took about as long as half of all: one after the other, the second would look slower by that.
  EXPECT_GT((clock.now() - begin) / 2, 0.04);
  EXPECT_NEAR(rows[1].replay.median / rows[0].replay.median, 1, 0.01);
  EXPECT_NEAR(rows[1].cold.median / rows[0].cold.median, 1, 0.01);
  EXPECT_EQ(rows[0].cold.samples, 40u);
}

TEST(Ceilings, AreMeasuredOnTheDevice) {
  const Ceilings ceilings = measure_ceilings(cpu_backend(1), DType::kF32, {1 << 16, 64}, {3, 0});
  EXPECT_GT(ceilings.copy_bytes_per_second, 0);
  EXPECT_GT(ceilings.flops_per_second, 0);
  EXPECT_GT(ceilings.launch_seconds, 0);
  EXPECT_EQ(ceilings.product_by, "onednn");
}

TEST(Problems, FilesAreReadAsTheyAreWritten) {
  const auto problems = parse_problems(
      "# a comment\n"
      "conv c n=2 h=9 w=8 c=6 k=4 r=3 s=1 stride=2 pad=1 groups=2 first=1 times=5  # and one here\n"
      "\n"
      "linear fc n=3 c=5 k=7\n",
      "f");
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0], (Problem{ProblemKind::kConv, "c", {2, 9, 8, 6, 4, 3, 1, 2, 1, 2}, 5, true}));
  EXPECT_EQ(problems[1], (Problem{ProblemKind::kLinear, "fc", {3, 1, 1, 5, 7}, 1, false}));
  for (const Problem& problem : problems) {
    EXPECT_EQ(parse_problems(to_string(problem), "f").front(), problem) << to_string(problem);
  }
}

TEST(Problems, WhatIsWrongIsNamed) {
  const auto refuse = [](const std::string& text, const std::string& words) {
    try {
      parse_problems(text, "file");
      ADD_FAILURE() << "nothing was thrown for " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      EXPECT_THAT(error.what(), HasSubstr(words));
    }
  };
  refuse("\nconvolution c n=1", "file:2: there is no kind 'convolution'");
  refuse("conv n=1 h=1", "name of the layer is missing");
  refuse("conv c n=1 h=4 w=4 c=4", "a conv needs k");
  refuse("conv c n=0 h=4 w=4 c=4 k=4", "n is '0'");
  refuse("conv c n=1 h=4 w=4 c=4 k=4x", "k is '4x'");
  refuse("linear c n=1 c=4 k=4 h=2", "'h=2' is no KEY=VALUE of a linear");
  refuse("conv c n=1 n=1 h=4 w=4 c=4 k=4", "n stands there twice");
  refuse("conv c n=1 h=2 w=4 c=4 k=4 r=3", "larger than 2x4");
  refuse("conv c n=1 h=4 w=4 c=4 k=6 groups=4", "4 groups do not divide");
  refuse("# nothing", "names no problem");
}

/// The files in bench/shapes are what the models are made of.
TEST(Problems, ShapesOfTheNetsAreThoseOfTheModels) {
  const std::vector<std::pair<std::string, int64_t>> nets = {{"resnet18", 256},
                                                             {"resnet50", 256},
                                                             {"resnet152", 256},
                                                             {"cifar_resnet20", 128},
                                                             {"cifar_resnet110", 128}};
  for (const auto& [model, batch] : nets) {
    ModelOptions options;
    options.batch = batch;
    const auto file = source_tree() / fmt::format("bench/shapes/{}_b{}.txt", model, batch);
    EXPECT_EQ(read_problems(file), problems_of(build_model(model, options))) << file;
  }
  EXPECT_GT(read_problems(source_tree() / "bench/shapes/odd.txt").size(), 10u);
}

TEST(Problems, LayersOfANetAreCounted) {
  ModelOptions options;
  int64_t convs = 0, norms = 0, macs = 0;
  for (const Problem& problem : problems_of(build_model("resnet50", options))) {
    if (problem.kind == ProblemKind::kConv) convs += problem.times;
    if (problem.kind == ProblemKind::kConv) macs += problem.times * problem.shape.macs();
    if (problem.kind == ProblemKind::kBatchNorm) norms += problem.times;
  }
  EXPECT_EQ(convs, 53);  // 16 blocks of 3, 4 downsamples, the stem
  EXPECT_EQ(norms, 53);
  EXPECT_EQ(macs, 4'087'136'256);  // 4.09 GMAC, as torchvision's v1.5 is counted without its last layer
}

TEST(Problems, LayersOfVectorsCountAndOnlyLearnedInputsHaveGradients) {
  ModelOptions options;
  options.batch = 32;
  const auto lines = [&](const char* model) {
    std::vector<std::string> text;
    for (const Problem& problem : problems_of(build_model(model, options)))
      text.push_back(to_string(problem));
    return text;
  };
  EXPECT_EQ(
      lines("mnist_highway10_50"),
      (std::vector<std::string>{"linear fc1 n=32 c=784 k=50 first=1",
                                "linear highway.0.h n=32 c=50 k=50 times=18", "linear fc n=32 c=50 k=10"}));
  EXPECT_EQ(lines("cifar_highway11").front(), "conv conv1 n=32 h=32 w=32 c=3 k=16 r=3 pad=1 first=1")
      << "images with dropout are images";
}

std::vector<Problem> small_problems() {
  return read_problems(source_tree() / "bench/shapes/tests.txt");
}

/// The benchmark's own definitions agree with the references of the tests, which other people wrote down.
TEST(Verification, DefinitionsAgreeWithTheReferences) {
  for (const Problem& problem : small_problems()) {
    for (const std::string& operation : operations_of(problem)) {
      const Graph graph = graph_of(problem, operation, DType::kF32, DType::kF32);
      const Node& node = graph.node(0);
      std::vector<Pattern> patterns;
      reference::Tensors tensors;
      for (const ValueId id : node.inputs) {
        const TensorDesc& desc = graph.desc(id);
        const auto bound = static_cast<uint32_t>(problem.shape.r * problem.shape.s);
        patterns.emplace_back(desc, desc.dtype == DType::kU8 ? DType::kF32 : desc.dtype, bound,
                              patterns.size() + 1);
        tensors.emplace_back(desc.shape);
        for (int64_t i = 0; i < desc.elements(); ++i) tensors.back()[i] = patterns.back()[i];
      }
      std::vector<reference::Tensor*> in;
      for (reference::Tensor& tensor : tensors) in.push_back(&tensor);
      const reference::Tensors outputs = reference::evaluate(node.op, in, {});
      for (size_t output = 0; output < outputs.size(); ++output) {
        for (int64_t i = 0; i < outputs[output].elements(); ++i) {
          const double expected = expected_element(problem, operation, patterns, output, i).value;
          ASSERT_NEAR(expected, outputs[output][i], 1e-9 * (1 + std::abs(expected)))
              << operation << " output " << output << " element " << i;
        }
      }
    }
  }
}

std::vector<KernelRow> measured_on(Backend& backend, Precision precision) {
  std::vector<KernelRow> rows;
  for (const Problem& problem : small_problems()) {
    for (const std::string& operation : operations_of(problem)) {
      for (KernelRow& row : measure_kernels({{"ours", &backend, {}}, {"onednn", &backend, {}}}, problem,
                                            operation, {precision, {2, 0}, 2})) {
        rows.push_back(std::move(row));
      }
    }
  }
  return rows;
}

TEST(Kernels, EveryOperationOfTheCpuIsRightAndMeasuredOnce) {
  for (const Precision precision : {Precision::kF32, Precision::kBF16}) {
    const auto rows = measured_on(cpu_backend(2), precision);
    EXPECT_EQ(rows.size(), 2u * 16);
    size_t measured = 0;
    for (const KernelRow& row : rows) {
      EXPECT_TRUE(row.status == RowStatus::kMeasured || row.status == RowStatus::kUnavailable)
          << row.operation << ": " << row.reason;
      if (row.status != RowStatus::kMeasured) continue;
      ++measured;
      EXPECT_GT(row.replay.median, 0) << row.operation;
      EXPECT_GT(row.cost.bytes_read, 0) << row.operation;
      EXPECT_LE(row.verdict.error, row.verdict.allowed) << row.operation;
      EXPECT_GE(row.verdict.checked, 16) << row.operation;
      EXPECT_EQ(row.rank, 1);
    }
    EXPECT_EQ(measured, 16u);  // each by whoever computes it here
  }
}

TEST(Kernels, CountedWorkIsThatOfTheDefinition) {
  const Problem problem{ProblemKind::kConv, "c", {2, 8, 8, 16, 24, 3, 3, 1, 1, 2}, 1, false};
  KernelCase test(cpu_backend(1), problem, "conv", DType::kF32, 1);
  EXPECT_EQ(test.cost().flops, 2 * (2 * 8 * 8 * 24) * (3 * 3 * 8));
  EXPECT_EQ(test.cost().bytes_read, 4 * (2 * 8 * 8 * 16 + 24 * 3 * 3 * 8));
  EXPECT_EQ(test.cost().bytes_written, 4 * 2 * 8 * 8 * 24);
}

/// Spoils one element of what the inner launch writes.
class SpoiledLaunch : public Launch {
 public:
  enum class How { kWrongValue, kUnwritten };
  SpoiledLaunch(std::unique_ptr<Launch> inner, ValueId output, How how)
      : inner_(std::move(inner)), output_(output), how_(how) {}
  size_t scratch_bytes() const override { return inner_->scratch_bytes(); }
  void bind(std::span<std::byte* const> addresses, std::byte* scratch) override {
    inner_->bind(addresses, scratch);
    result_ = reinterpret_cast<float*>(addresses[static_cast<size_t>(output_)]);
  }
  void run(const StepParams& params) override {
    inner_->run(params);
    if (how_ == How::kWrongValue) result_[0] += 1e-3f * std::max(1.0f, std::abs(result_[0]));
    if (how_ == How::kUnwritten) result_[1] = NAN;
  }
  Cost cost() const override { return inner_->cost(); }
  std::string implementation() const override { return "own"; }

 private:
  std::unique_ptr<Launch> inner_;
  ValueId output_;
  How how_;
  float* result_ = nullptr;
};

class SpoilingBackend : public BackendWrapper {
 public:
  SpoilingBackend(Backend& inner, SpoiledLaunch::How how) : BackendWrapper(inner), how_(how) {}
  std::unique_ptr<Launch> prepare(const Graph& graph, const Group& group) override {
    return std::make_unique<SpoiledLaunch>(inner_.prepare(graph, group),
                                           graph.node(group.nodes.front()).outputs.front(), how_);
  }

 private:
  SpoiledLaunch::How how_;
};

TEST(Kernels, AWrongResultHasNoSpeedAndNoRank) {
  const Problem problem = small_problems()[1];
  for (const auto how : {SpoiledLaunch::How::kWrongValue, SpoiledLaunch::How::kUnwritten}) {
    SpoilingBackend spoiled(cpu_backend(1), how);
    const auto rows = measure_kernels({{"ours", &spoiled, {}}, {"onednn", &cpu_backend(1), {}}}, problem,
                                      "conv", {Precision::kF32, {2, 0}, 1});
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[0].status, RowStatus::kWrong);
    EXPECT_THAT(rows[0].reason, HasSubstr("output 0 element"));
    EXPECT_EQ(rows[0].rank, 0);
    EXPECT_EQ(rows[0].replay.samples, 0u);
    EXPECT_EQ(rows[1].status, RowStatus::kMeasured);
    EXPECT_EQ(rows[1].rank, 1);
    const Ceilings ceilings{1e9, 1e9, "onednn", "f32", 0, 0};
    const Json json = to_json(rows[0], ceilings);
    EXPECT_EQ(json["status"], "wrong");
    EXPECT_FALSE(json.contains("replay_us"));
    EXPECT_THAT(to_text(rows, ceilings), HasSubstr("FAILED, wrong result"));
  }
}

TEST(Kernels, MissingImplementationsAreNamed) {
  const auto rows = measure_kernels({{"cudnn", nullptr, "libcudnn.so.9 is not there"}}, small_problems()[0],
                                    "conv", {Precision::kF32, {2, 0}, 1});
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].status, RowStatus::kUnavailable);
  EXPECT_EQ(rows[0].reason, "libcudnn.so.9 is not there");
}

KernelRow row_of(const std::string& implementation, RowStatus status, double seconds) {
  KernelRow row;
  row.problem = {ProblemKind::kConv, "layer", {1, 4, 4, 8, 8}, 3, false};
  row.operation = "conv";
  row.implementation = implementation;
  row.status = status;
  row.replay = row.cold = {seconds, seconds / 2, seconds * 2, 20};
  row.cost = {400, 100, 2000, 1};
  return row;
}

TEST(Kernels, RanksAndSpeedUpsAreThoseOfMeasuredRows) {
  std::vector<KernelRow> rows = {row_of("ours", RowStatus::kMeasured, 4),
                                 row_of("cudnn", RowStatus::kMeasured, 6),
                                 row_of("cublas", RowStatus::kWrong, 1)};
  rank_rows(rows);
  EXPECT_EQ(rows[0].rank, 1);
  EXPECT_EQ(rows[1].rank, 2);
  EXPECT_EQ(rows[2].rank, 0);
  EXPECT_EQ(rows[0].peer, "cudnn");
  EXPECT_DOUBLE_EQ(rows[0].speed_up, 1.5);
  EXPECT_TRUE(rows[1].peer.empty());
  const Json json = to_json(rows[0], {250, 1000, "cublas", "bf16", 0, 0});  // memory: 2 s, product: 2 s
  EXPECT_DOUBLE_EQ(json["tflops"], 500e-12);
  EXPECT_DOUBLE_EQ(json["peak_share"], 0.5);
  EXPECT_DOUBLE_EQ(json["gbytes_per_second"], 125e-9);
  EXPECT_DOUBLE_EQ(json["copy_share"], 0.5);
  EXPECT_DOUBLE_EQ(json["roofline_share"], 0.5);
  EXPECT_EQ(json["bound"], "memory");
  EXPECT_DOUBLE_EQ(json["replay_us"]["p80"], 8e6);
  const std::string text = to_text({rows[0], rows[1]}, {250, 1000, "cublas", "bf16", 0, 0});
  EXPECT_THAT(text, HasSubstr("ours 12000000.0 us"));  // three such layers
}

TEST(Step, PhasesAndLaunchesAddUp) {
  Recipe recipe;
  recipe.model.name = "cifar_resnet8";
  recipe.train.batch = 4;
  StepBench step(cpu_backend(1), recipe, nullptr);
  step.warm_up(1);
  const StepRound round = step.measure(3);
  EXPECT_EQ(round.seconds.size(), 3u);
  EXPECT_TRUE(std::isfinite(round.loss));
  const Ceilings ceilings{1e9, 1e10, "onednn", "f32", 0, 0};
  double roofline = 0;
  for (const auto& launch : step.plan().launches) {
    const Cost cost = launch->cost();
    roofline += std::max(static_cast<double>(cost.bytes()) / 1e9, static_cast<double>(cost.flops) / 1e10);
  }
  EXPECT_DOUBLE_EQ(step.roofline_seconds(ceilings), roofline);
  const Json phases = step.time_phases({1, 0});
  for (const char* phase : {"forward", "backward", "update"}) EXPECT_GT(phases[phase]["median"], 0) << phase;
  const Json launches = step.time_launches(ceilings, {1, 0});
  ASSERT_EQ(launches.size(), step.plan().launches.size());
  for (size_t i = 1; i < launches.size(); ++i) EXPECT_GE(launches[i - 1]["ms"], launches[i]["ms"]);
  EXPECT_EQ(StepRound({{2, 1, 3}, 0}).images_per_second(8), 4);
}

double g_now = 0;

TEST(Loading, EveryImageCountsAndTheClockIsTheOneGiven) {
  const fixtures::TemporaryFolder folder;
  folder.write("train-images-idx3-ubyte", fixtures::idx_images(40, 8, 8));
  folder.write("train-labels-idx1-ubyte", fixtures::idx_labels(fixtures::Bytes(40, 1)));
  const auto dataset = open_dataset(folder.path(), Split::kTrain);
  EXPECT_TRUE(std::holds_alternative<PadCropFlip>(usual_transform(*dataset)));
  LoaderOptions options;
  options.batch = 16;
  options.prefetch = 1;
  g_now = 0;
  // Half a second from one look at the clock to the next: each sample of 2 batches takes that long.
  const LoadingSpeed speed = loading_speed(*dataset, options, 6, [] { return g_now += 0.5; });
  EXPECT_EQ(speed.images_per_second, (bench::Statistics{64, 64, 64, 3}));
  EXPECT_EQ(speed.shape, (ImageShape{8, 8, 1}));
}

}  // namespace
}  // namespace residuum::bench
