// The autotuner: which candidates there are and that all compute the same, that the fastest by given times is
// taken, what the cache file keeps and for whom, and that training goes on as without it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "engine/backend/cuda/autotuner.h"
#include "engine/backend/cuda/fusion.h"
#include "engine/backend/cuda/fusion_conv.h"
#include "engine/backend/cuda/trial.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/graph/passes.h"
#include "tests/bottleneck_net.h"
#include "tests/compare.h"
#include "tests/emulator/runtime.h"
#include "tests/graph_chain.h"
#include "tests/small_run.h"

namespace residuum::cuda {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
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

/// batch_norm_apply, relu, conv and batch_norm_stats as one group, which one fused kernel may compute.
struct FusedConv {
  explicit FusedConv(DType type) {
    const Shape shape{2, 6, 5, 8};
    const ValueId src = chain.input("src", type, uniform_tensor(shape, 11));
    const ValueId mean = chain.vector("mean", 8, -0.1, 0.1), variance = chain.vector("variance", 8, 0.2, 0.4);
    const ValueId gamma = chain.vector("gamma", 8, 0.5, 1.5), beta = chain.vector("beta", 8, -0.5, 0.5);
    const ValueId weight = chain.input("weight", type, uniform_tensor({16, 3, 3, 8}, 12));
    Graph& g = chain.graph;
    const ValueId normal = g.add_node("bn", BatchNormApply{}, {src, mean, variance, gamma, beta})[0];
    const ValueId active = g.add_node("relu", Activation{}, {normal})[0];
    const ValueId dst = g.add_node("conv", Conv{16, 3, 3, 1, 1, 1}, {active, weight})[0];
    chain.result({dst});
    chain.result(g.add_node("stats", BatchNormStats{}, {dst}));
    group = {{0, 1, 2, 3}, {normal, active}};
  }

  GraphChain chain;
  Group group;
};

/// Tests run beside each other, so that files are named after them.
std::string test_name() {
  return ::testing::UnitTest::GetInstance()->current_test_info()->name();
}

class Autotune : public ::testing::Test {
 protected:
  Autotune() : file_(fs::path(::testing::TempDir()) / ("autotune_test_" + test_name()) / "cache.json") {
    setenv("RESIDUUM_CUDNN_LIBRARY", RESIDUUM_CUDNN_STAND_IN, 1);
    setenv("RESIDUUM_CUBLAS_LIBRARY", RESIDUUM_CUBLAS_STAND_IN, 1);
    emulator::reset();
    device_ = open_device(0);
    cudnn_ = open_cudnn();
    fs::remove_all(file_.parent_path());
  }
  ~Autotune() override {
    fs::remove_all(file_.parent_path());
    cudnn_.reset();
    device_.reset();
    emulator::reset();
  }

  std::vector<Candidate> candidates(const GraphChain& chain, const Group& group) const {
    return candidates_of(chain.graph, group, {}, {cudnn_.get(), nullptr});
  }
  /// The chain's results by one candidate.
  reference::Tensors run(const GraphChain& chain, const Candidate& candidate) const {
    std::vector<std::unique_ptr<Memory>> memory;
    std::vector<std::byte*> addresses(chain.graph.values.size());
    const auto place = [&](ValueId id) {
      memory.push_back(device_->allocate(chain.graph.desc(id).bytes()));
      addresses[static_cast<size_t>(id)] = memory.back()->data();
    };
    for (const auto& [id, value] : chain.inputs) {
      place(id);
      const auto bytes = encode(value, chain.graph.desc(id).dtype);
      device_->copy_to_device(addresses[static_cast<size_t>(id)], bytes.data(), bytes.size());
    }
    for (const ValueId id : chain.results) place(id);
    CudaLaunch launch(device_.get(), candidate.name, candidate.steps, {}, candidate.passed);
    const auto scratch = device_->allocate(launch.scratch_bytes());
    launch.bind(addresses, scratch->data());
    launch.run(chain.params);
    reference::Tensors results;
    for (const ValueId id : chain.results) {
      std::vector<std::byte> bytes(chain.graph.desc(id).bytes());
      device_->copy_to_host(bytes.data(), addresses[static_cast<size_t>(id)], bytes.size());
      results.push_back(decode(bytes, chain.graph.desc(id)));
    }
    return results;
  }
  /// Every candidate's results are the reference's, within what the autotuner allows between candidates.
  void expect_right(const GraphChain& chain, const Group& group, const std::vector<Candidate>& list) const {
    const reference::Tensors all = chain.reference_values();
    const double unit = trial_limit(chain.graph, group, kernels::F32Math::kTf32x3).relative;
    const Tolerance tolerance{"candidate", "what the autotuner itself allows between candidates", unit, unit};
    for (const Candidate& candidate : list) {
      const reference::Tensors found = run(chain, candidate);
      for (size_t r = 0; r < found.size(); ++r) {
        EXPECT_TRUE(matches(found[r], all[static_cast<size_t>(chain.results[r])], tolerance, 1))
            << candidate.name << " result " << r;
      }
    }
  }
  Autotuner tuner(std::map<std::string, double> times, int* calls = nullptr,
                  const Header& header = {{"device", "one"}}) {
    return Autotuner(*device_, AutotuneCache(file_, header), std::make_unique<GivenTimes>(times, calls));
  }
  nlohmann::json file() const { return nlohmann::json::parse(read_text_file(file_)); }

  fs::path file_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<cuda::Cudnn> cudnn_;
};

/// A chain of batch_norm_apply and relu: one fused launch.
struct FusedApply {
  explicit FusedApply(int64_t channels = 16) {
    const ValueId src = chain.input("src", DType::kF32, uniform_tensor({2, 3, 3, channels}, 11));
    std::vector<ValueId> inputs = {src};
    for (const char* name : {"mean", "variance", "gamma", "beta"}) {
      inputs.push_back(chain.vector(name, channels, 0.2, 0.4));
    }
    const ValueId normal = chain.graph.add_node("bn", BatchNormApply{}, inputs)[0];
    chain.result(chain.graph.add_node("relu", Activation{}, {normal}));
    group = {{0, 1}, {normal}};
  }

  GraphChain chain;
  Group group;
};

std::vector<std::string> names(const std::vector<Candidate>& candidates) {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates) names.push_back(candidate.name);
  return names;
}

/// Steps of the candidate of that name, and what they hand on.
using Pieces = std::pair<size_t, std::vector<ValueId>>;
Pieces shape_of(const std::vector<Candidate>& list, const std::string& name) {
  for (const Candidate& candidate : list) {
    if (candidate.name != name) continue;
    Pieces pieces{candidate.steps.size(), {}};
    for (const PassedValue& value : candidate.passed) pieces.second.push_back(value.id);
    return pieces;
  }
  return {0, {}};
}

TEST_F(Autotune, AFusedGroupCompetesWithTheSumOfWhatItReplaces) {
  for (const DType type : {DType::kF32, DType::kBF16, DType::kF16}) {
    const FusedConv fused(type);
    const std::vector<Candidate> list = candidates(fused.chain, fused.group);
    // Sixteen columns: the usual tile is kConvSlim. f32 has but one for whole chunks.
    ASSERT_THAT(
        names(list),
        type == DType::kF32
            ? ElementsAreArray({"own", "prologue cut", "epilogue cut", "cut", "separate", "cudnn", "cudnn 2"})
            : ElementsAreArray({"own", "own kConvWide", "own kConvMedium", "own kConvWideTwo",
                                "own kConvMediumTwo", "own kConvNarrow", "prologue cut", "epilogue cut",
                                "cut", "separate", "cudnn", "cudnn 2"}));
    expect_right(fused.chain, fused.group, list);
    const ValueId normal = fused.group.internal[0], active = fused.group.internal[1];
    EXPECT_EQ(shape_of(list, "own"), Pieces(1, {}));
    EXPECT_EQ(shape_of(list, "prologue cut"), Pieces(2, {active})) << "batch_norm_apply and relu are one";
    EXPECT_EQ(shape_of(list, "epilogue cut"), Pieces(2, {})) << "what the convolution forms stays in it";
    EXPECT_EQ(shape_of(list, "cut"), Pieces(3, {active}));
    EXPECT_EQ(shape_of(list, "separate"), Pieces(4, {normal, active}));
    EXPECT_EQ(shape_of(list, "cudnn"), Pieces(3, {active}));
  }
}

/// A gradient's convolution, of a d_dst that the filter's pass reads too.
TEST_F(Autotune, TheNodesOnBothSidesOfAGradientAreFused) {
  GraphChain chain;
  Graph& g = chain.graph;
  const Shape shape{2, 6, 5, 16};
  const auto tensor = [&](const char* name, uint64_t seed) {
    return chain.input(name, DType::kBF16, uniform_tensor(shape, seed));
  };
  const ValueId d_y = tensor("d_y", 1), y = tensor("y", 2), other = tensor("other", 3), x = tensor("x", 4);
  const ValueId weight = chain.input("weight", DType::kBF16, uniform_tensor({16, 3, 3, 16}, 5));
  std::vector<ValueId> norm = {d_y, y};
  for (const char* name : {"mean", "variance", "gamma", "d_gamma", "d_beta"})
    norm.push_back(chain.vector(name, 16, 0.5, 1.5));
  std::vector<ValueId> before = {x};
  for (const char* name : {"mean_x", "variance_x", "gamma_x", "beta_x"})
    before.push_back(chain.vector(name, 16, 0.5, 1.5));
  const ValueId d_dst = g.add_node("bn2", BatchNormBackwardApply{}, norm)[0];
  const ConvShape conv{2, 6, 5, 16, 16, 3, 3, 1, 1, 1};
  const ValueId d_src = g.add_node("conv", ConvBackwardData{conv}, {d_dst, weight})[0];
  const ValueId sum = g.add_node("add", Add{}, {other, d_src})[0];
  const ValueId normal = g.add_node("bn1", BatchNormApply{}, before)[0];
  const ValueId active = g.add_node("relu", Activation{}, {normal})[0];
  const ValueId gated = g.add_node("relu", ActivationBackward{}, {sum, active})[0];
  chain.result({d_dst, gated});
  chain.result(g.add_node("bn1", BatchNormBackwardReduce{}, {gated, x, before[1], before[2]}));
  const Group group = {{0, 1, 2, 3, 4, 5, 6}, {d_src, sum, normal, active}};
  ASSERT_EQ(cuda_groups(g, {}).size(), 1u);
  const std::vector<Candidate> list = candidates(chain, group);
  expect_right(chain, group, list);
  EXPECT_EQ(shape_of(list, "own"), Pieces(1, {}));
  EXPECT_EQ(shape_of(list, "prologue cut"), Pieces(2, {}));
  EXPECT_EQ(shape_of(list, "epilogue cut"), Pieces(2, {d_src})) << "all behind it is one";
  EXPECT_EQ(shape_of(list, "cut"), Pieces(3, {d_src}));
  EXPECT_EQ(shape_of(list, "cudnn"), Pieces(3, {d_src}));
}

/// Of a step with Gram matrices, and so convolutions that read, add and normalise whatever they can.
TEST_F(Autotune, EveryCandidateOfEveryGroupOfAStepAgreesWithOwn) {
  TrainingPassOptions passes;
  passes.relu_masks = passes.weight_copies = passes.gram_batch_norm = true;
  passes.absorbs = [](const Graph& g, NodeId reader, size_t input) { return absorbs(g, reader, input, {}); };
  const Graph graph = run_passes(bottleneck_net(DType::kBF16, 2, 8, 4), training_passes(passes));
  std::set<std::string> signatures, found;
  RandomPatterns patterns;
  for (const Group& group : cuda_groups(graph, {})) {
    const std::string signature = signature_of(graph, group, {});
    if (!signatures.insert(signature).second) continue;
    const std::vector<Candidate> list = candidates_of(graph, group, {}, {cudnn_.get(), nullptr});
    const TrialLimit limit = trial_limit(graph, group, kernels::F32Math::kTf32x3);
    Trial trial(*device_, graph, group, list, patterns);
    std::vector<std::vector<std::byte>> expected;
    for (const Candidate& candidate : list) {
      CudaLaunch launch(device_.get(), candidate.name, candidate.steps, {}, candidate.passed);
      trial.bind(launch);
      const auto results = trial.results_of([&] { launch.run({}); });
      if (candidate.name == "own") expected = results;
      EXPECT_EQ(trial.difference(results, expected, limit), "") << candidate.name << " of " << signature;
      found.insert(candidate.name);
    }
  }
  for (const char* name : {"prologue cut", "epilogue cut", "cut", "separate", "cudnn"})
    EXPECT_TRUE(found.contains(name)) << name;
  const auto of_gram = std::count_if(signatures.begin(), signatures.end(), [](const std::string& text) {
    return text.find("gram(") != std::string::npos || text.find("concat(") != std::string::npos;
  });
  EXPECT_GE(of_gram, 4);
}

TEST_F(Autotune, WeightGradientsHaveTilesOfTheirOwn) {
  GraphChain chain;
  const ConvShape shape{1, 9, 7, 16, 64, 3, 3, 1, 1, 1};
  const ValueId d_dst = chain.input("d_dst", DType::kBF16, uniform_tensor({1, 9, 7, 64}, 1));
  const ValueId src = chain.input("src", DType::kBF16, uniform_tensor({1, 9, 7, 16}, 2));
  chain.result(chain.graph.add_node("d_weight", ConvBackwardFilter{shape}, {d_dst, src}));
  const Group group = {{0}, {}};
  const std::vector<Candidate> list = candidates_of(chain.graph, group, {}, {});
  EXPECT_THAT(names(list), ElementsAre("own", "own kFilterWide", "own kFilterBroad", "own kFilterSlim"));
  expect_right(chain, group, list);
}

TEST_F(Autotune, LinearLayersHaveCublas) {
  GraphChain chain;
  const ValueId src = chain.input("src", DType::kF32, uniform_tensor({4, 8}, 1));
  const ValueId weight = chain.input("weight", DType::kF32, uniform_tensor({3, 8}, 2));
  chain.result(chain.graph.add_node("fc", Linear{3, DType::kF32}, {src, weight}));
  const auto cublas = open_cublas(*device_);
  const Libraries libraries{cudnn_.get(), cublas.get()};
  EXPECT_THAT(names(candidates_of(chain.graph, {{0}, {}}, {}, libraries)), ElementsAre("own", "cublas"));
}

TEST_F(Autotune, SignaturesTellWhatTakesAnotherTime) {
  const FusedApply one, other(32);
  const StepOptions own;
  const std::string text = signature_of(one.chain.graph, one.group, own);
  EXPECT_EQ(text,
            "batch_norm_apply(0:f32[2, 3, 3, 16], 1:f32[16], 2:f32[16], 3:f32[16], 4:f32[16]) -> "
            "(~5:f32[2, 3, 3, 16]); relu(~5:f32[2, 3, 3, 16]) -> (6:f32[2, 3, 3, 16])");
  EXPECT_NE(text, signature_of(other.chain.graph, other.group, own));
  EXPECT_NE(text, signature_of(one.chain.graph, {{0, 1}, {}}, own)) << "the value between is stored";
  EXPECT_NE(text, signature_of(one.chain.graph, one.group, {.f32_math = kernels::F32Math::kTf32}));
  EXPECT_EQ("without apply; " + text, signature_of(one.chain.graph, one.group, {.fusions_off = {"apply"}}));
  const FusedConv conv(DType::kBF16);
  EXPECT_THAT(signature_of(conv.chain.graph, conv.group, own), HasSubstr("conv s1 p1 g1("));
}

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
  constexpr int kRounds = 7;
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

/// Three copies of the random data and a part of a fourth: pieces at both ends and between are as they are
/// at the same place of the first.
TEST_F(Autotune, LongTensorsRepeatTheirRandomData) {
  GraphChain chain;
  const ValueId src = chain.input("src", DType::kBF16, uniform_tensor({1, 1}, 1));
  chain.graph.values[static_cast<size_t>(src)].desc.shape = {2000, 1600};
  chain.result(chain.graph.add_node("relu", Activation{}, {src}));
  const Group group = {{0}, {}};
  std::vector<Candidate> list = candidates_of(chain.graph, group, {}, {});
  const size_t bytes = chain.graph.desc(src).bytes();
  list[0].steps[0].enqueue = [&](const Bound& b) { device_->copy(b.out[0], b.in[0], bytes); };
  RandomPatterns patterns;
  const std::span<const std::byte> pattern = patterns.of(chain.graph.desc(src), 256);
  ASSERT_LT(3 * pattern.size(), bytes);
  ASSERT_GT(4 * pattern.size(), bytes);
  Trial trial(*device_, chain.graph, group, list, patterns);
  CudaLaunch launch(device_.get(), "copy", list[0].steps);
  trial.bind(launch);
  const std::vector<std::byte> sample = trial.results_of([&] { launch.run({}); }).at(0);
  constexpr size_t kPieces = 16;
  const size_t piece = sample.size() / kPieces;
  for (size_t i = 0; i < kPieces; ++i) {
    const size_t first = i + 1 == kPieces ? bytes - piece : i * ((bytes - piece) / (kPieces - 1) / 4 * 4);
    size_t differing = 0;
    for (size_t b = 0; b < piece; ++b)
      differing += sample[i * piece + b] != pattern[(first + b) % pattern.size()] ? 1 : 0;
    EXPECT_EQ(differing, 0u) << "piece " << i;
  }
  const auto nothing = trial.results_of([] {}).at(0);
  EXPECT_TRUE(std::all_of(nothing.begin(), nothing.end(), [](std::byte b) { return b == std::byte{0xFF}; }));
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
    nlohmann::ordered_json file = nlohmann::ordered_json::parse(read_text_file(file_));
    for (auto& entry : file.at("sections").at(0).at("entries")) {
      EXPECT_TRUE(entry.at("excluded").empty()) << entry.dump();
      for (const auto& [name, time] : entry.at("microseconds").items()) entry["choice"] = name;
    }
    write_file_atomically(file_, file.dump());
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
