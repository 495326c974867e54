// The candidates of a group: which there are, in which steps, and that all compute the same on the data that
// the autotuner tries them on.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/backend/cuda/autotune/trial.h"
#include "engine/backend/cuda/fusion/fusion.h"
#include "engine/backend/cuda/fusion/fusion_conv.h"
#include "engine/graph/passes.h"
#include "tests/cuda/stand_in_libraries.h"
#include "tests/support/bottleneck_net.h"
#include "tests/support/compare.h"

namespace residuum::cuda {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

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

class Candidates : public StandInTest {
 protected:
  /// All candidates write what "own" writes, as the autotuner sees it; their names.
  std::set<std::string> expect_agreement(const Graph& graph, const Group& group) {
    const std::vector<Candidate> list = candidates_of(graph, group, {}, {cudnn_.get(), nullptr});
    const TrialLimit limit = trial_limit(graph, group, kernels::F32Math::kTf32x3);
    Trial trial(*device_, graph, group, list, patterns_);
    std::vector<std::vector<std::byte>> expected;
    std::set<std::string> names;
    for (const Candidate& candidate : list) {
      CudaLaunch launch(device_.get(), candidate.name, candidate.steps, {}, candidate.passed);
      trial.bind(launch);
      const auto results = trial.results_of([&] { launch.run({}); });
      if (names.empty()) expected = results;
      EXPECT_EQ(trial.difference(results, expected, limit), "") << candidate.name;
      names.insert(candidate.name);
    }
    return names;
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

 private:
  RandomPatterns patterns_;
};

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

TEST_F(Candidates, AFusedGroupCompetesWithTheSumOfWhatItReplaces) {
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
TEST_F(Candidates, TheNodesOnBothSidesOfAGradientAreFused) {
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

/// Of steps as they are and with Gram matrices, where convolutions read, add and normalise whatever they can.
TEST_F(Candidates, AllOfEveryGroupOfAStepAgreeWithOwn) {
  TrainingPassOptions passes;
  passes.relu_masks = passes.weight_copies = true;
  passes.absorbs = [](const Graph& g, NodeId reader, size_t input) { return absorbs(g, reader, input, {}); };
  std::set<std::string> names, signatures;
  for (const bool gram : {false, true}) {
    passes.gram_batch_norm = gram;
    const Graph graph = run_passes(bottleneck_net(DType::kBF16, 2, 8, 4), training_passes(passes));
    for (const Group& group : cuda_groups(graph, {})) {
      const std::string signature = signature_of(graph, group, {});
      if (!signatures.insert(signature).second) continue;
      SCOPED_TRACE(signature);
      names.merge(expect_agreement(graph, group));
    }
  }
  for (const char* name : {"prologue cut", "epilogue cut", "cut", "separate", "cudnn"})
    EXPECT_TRUE(names.contains(name)) << name;
  for (const char* part : {"gram(", "concat("}) {
    EXPECT_TRUE(std::any_of(signatures.begin(), signatures.end(), [&](const std::string& signature) {
      return signature.find(part) != std::string::npos;
    })) << part;
  }
}

TEST_F(Candidates, WeightGradientsHaveTilesOfTheirOwn) {
  GraphChain chain;
  const ConvShape shape{1, 9, 7, 16, 64, 3, 3, 1, 1, 1};
  const ValueId d_dst = chain.input("d_dst", DType::kBF16, uniform_tensor({1, 9, 7, 64}, 1));
  const ValueId src = chain.input("src", DType::kBF16, uniform_tensor({1, 9, 7, 16}, 2));
  chain.result(chain.graph.add_node("d_weight", ConvBackwardFilter{shape}, {d_dst, src}));
  const Group group = {{0}, {}};
  const std::vector<Candidate> list = candidates_of(chain.graph, group, {}, {});
  EXPECT_THAT(names(list), ElementsAre("own", "own kFilterWide", "own kFilterSquare", "own kFilterBroad",
                                       "own kFilterSlim", "own kFilterTaps", "own kFilterTapsBroad"));
  expect_right(chain, group, list);
}

TEST_F(Candidates, LinearLayersHaveCublas) {
  GraphChain chain;
  const ValueId src = chain.input("src", DType::kF32, uniform_tensor({4, 8}, 1));
  const ValueId weight = chain.input("weight", DType::kF32, uniform_tensor({3, 8}, 2));
  chain.result(chain.graph.add_node("fc", Linear{3, DType::kF32}, {src, weight}));
  const auto cublas = open_cublas(*device_);
  const Libraries libraries{cudnn_.get(), cublas.get()};
  EXPECT_THAT(names(candidates_of(chain.graph, {{0}, {}}, {}, libraries)), ElementsAre("own", "cublas"));
}

TEST_F(Candidates, SignaturesTellWhatTakesAnotherTime) {
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

/// Three copies of the random data and a part of a fourth: pieces at both ends and between are as they are
/// at the same place of the first.
TEST_F(Candidates, LongTensorsRepeatTheirRandomData) {
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

}  // namespace
}  // namespace residuum::cuda
