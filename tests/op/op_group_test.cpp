// Several nodes in one launch compute what one launch each computes: on the CPU the same bits, on CUDA the
// same but for the order in which a convolution's kernel adds up its sums; and one set of bits in every
// variant.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <utility>

#include "tests/support/graph_chain.h"
#include "tests/support/op_case.h"

namespace residuum {
namespace {

/// batch_norm_apply -> relu -> conv -> batch_norm_stats.
GraphChain forward_chain(int64_t batch, DType type) {
  GraphChain chain;
  Graph& g = chain.graph;
  const ValueId src = chain.input("src", type, uniform_tensor({batch, 7, 5, 16}, 1));
  const ValueId mean = chain.vector("mean", 16, -0.1, 0.1), variance = chain.vector("variance", 16, 0.2, 0.4),
                gamma = chain.vector("gamma", 16, 0.5, 1.5), beta = chain.vector("beta", 16, -1, 1);
  const ValueId weight = chain.input("weight", DType::kF32, uniform_tensor({24, 3, 3, 16}, 2));
  const ValueId normalised = g.add_node("bn", BatchNormApply{}, {src, mean, variance, gamma, beta})[0];
  const ValueId active = g.add_node("relu", Activation{}, {normalised})[0];
  const ValueId dst = g.add_node("conv", Conv{24, 3, 3, 1, 1, 1}, {active, weight})[0];
  chain.result(g.add_node("bn2", BatchNormStats{}, {dst}));
  chain.result({dst});
  return chain;
}

/// conv_backward_filter and conv_backward_data -> relu_backward -> batch_norm_backward_reduce.
GraphChain backward_chain(int64_t batch, DType type) {
  GraphChain chain;
  Graph& g = chain.graph;
  const ConvShape shape{batch, 7, 5, 16, 24, 3, 3, 2, 1, 1};
  const ValueId d_dst = chain.input("d_dst", type, uniform_tensor({batch, shape.p(), shape.q(), 24}, 1));
  const ValueId active = chain.input(
      "active", type, reference::activation(ActivationKind::kRelu, uniform_tensor({batch, 7, 5, 16}, 2)));
  const ValueId src = chain.input("src", type, uniform_tensor({batch, 7, 5, 16}, 3));
  const ValueId weight = chain.input("weight", DType::kF32, uniform_tensor({24, 3, 3, 16}, 4));
  const ValueId mean = chain.vector("mean", 16, -0.1, 0.1), variance = chain.vector("variance", 16, 0.2, 0.4);
  const ValueId d_weight = g.add_node("conv", ConvBackwardFilter{shape}, {d_dst, active})[0];
  const ValueId d_active = g.add_node("conv", ConvBackwardData{shape}, {d_dst, weight})[0];
  const ValueId d_normalised = g.add_node("relu", ActivationBackward{}, {d_active, active})[0];
  chain.result(g.add_node("bn", BatchNormBackwardReduce{}, {d_normalised, src, mean, variance}));
  chain.result({d_normalised, d_weight});
  return chain;
}

/// Element-wise operations, pools and the shortcut in a row, ending in the loss.
GraphChain head_chain(int64_t batch, DType type) {
  GraphChain chain;
  Graph& g = chain.graph;
  const ValueId images = chain.input("images", DType::kU8, integer_tensor({batch, 9, 9, 3}, 1, 256));
  const ValueId weight = chain.input("weight", DType::kF32, uniform_tensor({10, 12}, 2));
  const ValueId labels = chain.input("labels", DType::kI32, integer_tensor({batch}, 3, 10));
  const ValueId src =
      g.add_node("norm", Normalize{{0.4f, 0.5f, 0.6f}, {0.2f, 0.2f, 0.2f}, type}, {images})[0];
  const ValueId pooled = g.add_node("pool", MaxPool{3, 2, 1}, {src})[0];
  const ValueId wide = g.add_node("shortcut", ShortcutA{2, 6, ZeroChannels::kBothSides}, {pooled})[0];
  const ValueId dropped = g.add_node("drop", Dropout{0.25f, 1}, {wide})[0];
  const ValueId both = g.add_node("concat", Concat{}, {dropped, wide})[0];
  const ValueId mean = g.add_node("average", GlobalAvgPool{}, {both})[0];
  const ValueId logits = g.add_node("fc", Linear{10, DType::kF32}, {mean, weight})[0];
  chain.result(g.add_node("loss", SoftmaxCrossEntropy{}, {logits, labels}));
  chain.result({logits});
  return chain;
}

/// The results of one launch beside those of a launch a node.
void expect_close(const GraphChain& chain, const GraphRun& joined, const GraphRun& separate) {
  for (const ValueId id : chain.results) {
    const TensorDesc& desc = chain.graph.desc(id);
    const Tolerance tolerance = desc.dtype == DType::kF32 ? summed_f32(chain.graph.desc(0).elements())
                                                          : rounded_tolerance(desc.dtype);
    EXPECT_TRUE(matches(joined.read(id), separate.read(id), tolerance)) << chain.graph.value(id).name;
  }
}

void expect_grouping_changes_nothing(const GraphChain& chain) {
  GraphRun separate(chain.graph, test_backend(), Grouping::kSeparate);
  ASSERT_EQ(separate.launches(), chain.graph.nodes.size());
  auto expected = chain.run(separate);
  bool first = on_cuda();
  for_each_variant([&](const Variant& variant) {
    GraphRun joined(chain.graph, *variant.backend, Grouping::kJoined);
    if (!on_cuda()) {
      ASSERT_EQ(joined.launches(), 1u) << "the backend did not join the chain";
    }
    for (int turn = 0; turn < variant.runs; ++turn) {
      const auto found = chain.run(joined);
      if (std::exchange(first, false)) {
        expect_close(chain, joined, separate);
        expected = found;
      }
      EXPECT_TRUE(found == expected) << variant.name << ", run " << turn;
    }
    EXPECT_EQ(joined.overruns(), std::vector<std::string>{}) << variant.name;
  });
}

template <typename Make>
void expect_for_all(const Make& make) {
  for (const int64_t batch : {1, 3, 8, 37, 70}) {
    for (const DType type : activation_types()) {
      SCOPED_TRACE(fmt::format("batch {} {}", batch, to_string(type)));
      expect_grouping_changes_nothing(make(batch, type));
    }
  }
}

TEST(OpGroup, Forward) {
  expect_for_all(forward_chain);
}
TEST(OpGroup, Backward) {
  expect_for_all(backward_chain);
}
TEST(OpGroup, Head) {
  expect_for_all(head_chain);
}

TEST(OpGroup, ChainsHaveInternalValues) {
  const GraphChain chain = forward_chain(8, DType::kF32);
  GraphRun joined(chain.graph, test_backend(), Grouping::kJoined);
  EXPECT_EQ(joined.groups()[0].internal.size(), 2u) << "what the convolution reads never reaches memory";
}

TEST(OpGroup, ResultsFollowTheReference) {
  for (const auto make : {forward_chain, backward_chain, head_chain}) {
    const GraphChain chain = make(11, DType::kF32);
    const reference::Tensors values = chain.reference_values();
    GraphRun joined(chain.graph, test_backend(), Grouping::kJoined);
    chain.run(joined);
    for (const ValueId id : chain.results)
      EXPECT_TRUE(matches(joined.read(id), values[static_cast<size_t>(id)], summed_f32(400)))
          << chain.graph.value(id).name;
  }
}

}  // namespace
}  // namespace residuum
