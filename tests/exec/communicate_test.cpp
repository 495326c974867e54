// Training steps on several ranks: which collectives the passes put where, and that the ranks together take
// the step that one rank takes with the whole batch.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "engine/comm/communicator.h"
#include "engine/comm/exchange.h"
#include "engine/comm/socket.h"
#include "engine/core/check.h"
#include "engine/exec/executor.h"
#include "engine/graph/buckets.h"
#include "engine/graph/passes.h"
#include "engine/graph/readers.h"
#include "models/zoo.h"
#include "tests/support/rank_training.h"

namespace residuum {
namespace {

TEST(Buckets, AreFullWithTheGradientThatReachesTheirSize) {
  const std::vector<size_t> bytes = {4, 4, 8, 1, 20, 3};
  const std::vector<Bucket> expected = {{0, 2, 8}, {2, 3, 8}, {3, 5, 21}, {5, 6, 3}};
  EXPECT_EQ(make_buckets(bytes, 8), expected);
  EXPECT_EQ(make_buckets(bytes, 0).size(), bytes.size());
  EXPECT_EQ(make_buckets(bytes, 1000).size(), 1u);
  EXPECT_TRUE(make_buckets({}, 8).empty());
}

TEST(Buckets, SizeIsAnEighthWithinBounds) {
  EXPECT_EQ(bucket_bytes_for(size_t{100} << 20), size_t{100} << 17);
  EXPECT_EQ(bucket_bytes_for(1000), size_t{1} << 20);
  EXPECT_EQ(bucket_bytes_for(size_t{1} << 30), size_t{32} << 20);
  EXPECT_EQ(bucket_bytes_for(1000, 17), 17u);
}

std::unique_ptr<Backend> cpu() {
  return make_backend("cpu", {.threads = 1});
}

TrainingPassOptions options_for(const Backend& backend, int ranks) {
  return rank_passes(backend, ranks, 4096);
}

std::vector<const Node*> nodes_of(const Graph& graph, std::string_view op) {
  std::vector<const Node*> found;
  for (const Node& node : graph.nodes) {
    if (op_name(node.op) == op) found.push_back(&node);
  }
  return found;
}

Graph step_graph(const TrainingPassOptions& options, int64_t batch = 4) {
  ModelOptions model;
  model.batch = batch;
  return run_passes(build_model("cifar_resnet20", model), training_passes(options));
}

TEST(Communicate, EachGradientAndStatisticIsSummedOnce) {
  const auto backend = cpu();
  const Graph alone = step_graph(options_for(*backend, 1)), graph = step_graph(options_for(*backend, 2));
  EXPECT_TRUE(nodes_of(alone, "all_reduce").empty());
  std::vector<ValueId> summed;
  for (const Node* node : nodes_of(graph, "all_reduce"))
    summed.insert(summed.end(), node->inputs.begin(), node->inputs.end());
  const size_t gradients = nodes_of(alone, "gradient_norm").at(0)->inputs.size(),
               norms = nodes_of(alone, "batch_norm_stats").size();
  EXPECT_EQ(summed.size(), gradients + 2 * norms);
  std::sort(summed.begin(), summed.end());
  EXPECT_EQ(std::adjacent_find(summed.begin(), summed.end()), summed.end());
  // The update reads sums alone: nothing of this rank's own but weights, momenta and running statistics.
  for (const Node& node : graph.nodes) {
    if (node.phase != Phase::kUpdate) continue;
    for (const ValueId id : node.inputs)
      EXPECT_FALSE(std::binary_search(summed.begin(), summed.end(), id)) << graph.value(id).name;
  }
  const auto& sgd = std::get<SgdUpdate>(nodes_of(graph, "sgd_update").at(0)->op);
  EXPECT_FLOAT_EQ(sgd.gradient_scale, 0.5f);
  EXPECT_FLOAT_EQ(std::get<BatchNormCommit>(nodes_of(graph, "batch_norm_commit").at(0)->op).scale, 0.5f);
}

TEST(Communicate, CollectivesComeAmongTheBackwardNodesAndAfterAllReaders) {
  const auto backend = cpu();
  const Graph graph = step_graph(options_for(*backend, 2));
  const Readers readers(graph);
  std::vector<size_t> places;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (!std::holds_alternative<AllReduce>(node.op)) continue;
    places.push_back(n);
    size_t bytes = 0;
    for (const ValueId id : node.inputs) {
      bytes += graph.desc(id).bytes();
      for (const NodeId reader : readers.of(id)) EXPECT_LE(static_cast<size_t>(reader), n);
    }
    const size_t without_last = bytes - graph.desc(node.inputs.back()).bytes();
    EXPECT_LT(without_last, 4096u) << node.name;
  }
  ASSERT_GT(places.size(), 10u);
  const auto backward_after = [&](size_t place) {
    return std::count_if(graph.nodes.begin() + static_cast<std::ptrdiff_t>(place), graph.nodes.end(),
                         [](const Node& node) { return op_name(node.op) == "conv_backward_filter"; });
  };
  EXPECT_GT(backward_after(places[0]), 15)
      << "the first bucket is on its way while most of the backward pass runs";
  EXPECT_EQ(backward_after(places.back()), 0);
}

/// Sums of one rank, which notes when they begin and end.
class NotingExchange : public Exchange {
 public:
  std::string describe() const override { return "noting"; }
  void start(std::span<const SummedMemory>, float, const std::string& name) override {
    notes.push_back(name);
  }
  void finish() override { notes.emplace_back("finish"); }
  double waited_seconds() const override { return 0; }

  std::vector<std::string> notes;
};

TEST(Executor, BeginsCollectivesInOrderAndWaitsBeforeTheUpdate) {
  const auto backend = cpu();
  const Graph graph = step_graph(options_for(*backend, 2));
  NotingExchange exchange;
  State state(*backend);
  Executor executor(graph, *backend, state, {{.exchange = &exchange}, 1, {}});
  write_rows(executor, 4, 0, 0);
  executor.run_micro_step({});
  std::vector<std::string> expected;
  for (const Node* node : nodes_of(graph, "all_reduce")) expected.push_back(node->name);
  expected.emplace_back("finish");
  EXPECT_EQ(exchange.notes, expected);
  executor.run_update({});
  EXPECT_EQ(exchange.notes, expected) << "nothing is left for the update to wait for";

  State other(*backend);
  Executor without(graph, *backend, other, {{}, 1, {}});
  write_rows(without, 4, 0, 0);
  EXPECT_THROW(without.run_micro_step({}), Error);
}

/// What rank 0 ends with, after making sure that the others end with the same bits.
Values train_ranks(const RankRun& run) {
  if (run.ranks == 1) return train_rank(run, 0, *cpu(), nullptr);
  const int port = Socket::listening(0).local_port();
  std::vector<Values> all(static_cast<size_t>(run.ranks));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < run.ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const auto communicator =
          join_ranks({LaunchedBy::kFlags, rank, run.ranks, 0, 1, "127.0.0.1", port}, {.timeout = 60});
      const auto backend = cpu();
      const auto exchange = make_host_exchange(*communicator, *backend);
      all[static_cast<size_t>(rank)] = train_rank(run, rank, *backend, exchange.get());
    });
  }
  threads.clear();
  for (const Values& values : all) EXPECT_EQ(values, all[0]);
  return all[0];
}

TEST(Ranks, TakeTheStepOfOneRankWithTheWholeBatch) {
  const Values one = train_ranks({.ranks = 1, .batch_norms = false});
  for (const int ranks : {2, 4}) expect_close(train_ranks({.ranks = ranks, .batch_norms = false}), one, 2e-5);
}

TEST(Ranks, SynchronisedBatchNormsAreThoseOfTheWholeBatch) {
  const Values one = train_ranks({.ranks = 1});
  for (const int ranks : {2, 4}) expect_close(train_ranks({.ranks = ranks, .sync = true}), one, 1e-3);
  EXPECT_GT(std::abs(train_ranks({.ranks = 4}).at("bn_b.running_var")[0] - one.at("bn_b.running_var")[0]),
            1e-4f)
      << "without, each rank has statistics of its own";
}

TEST(Ranks, BatchNormsPerRankAreThoseOfMicroStepsInPairs) {
  // Eight parts of two images: as micro-steps of one rank, or spread over two, four or eight ranks.
  const Values one = train_ranks({.ranks = 1, .micro_steps = 8, .in_pairs = true});
  for (const int ranks : {2, 4, 8}) {
    EXPECT_EQ(train_ranks({.ranks = ranks, .micro_steps = 8 / ranks, .in_pairs = true}), one)
        << ranks << " ranks";
  }
  const Values in_turn = train_ranks({.ranks = 1, .micro_steps = 8});
  EXPECT_NE(in_turn.at("fc.weight"), one.at("fc.weight")) << "the order of additions matters";
  EXPECT_NEAR(in_turn.at("fc.weight")[0], one.at("fc.weight")[0], 1e-5);
}

}  // namespace
}  // namespace residuum
