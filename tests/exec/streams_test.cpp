// The rule of the second stream, and its proof on plans: launches that nothing orders share no memory that
// one of them writes, and every launch comes after those whose results it reads.
#include "engine/exec/streams.h"

#include <gtest/gtest.h>

#include "engine/core/random.h"
#include "engine/exec/plan.h"
#include "engine/graph/passes.h"
#include "models/zoo.h"
#include "tests/support/backend_wrapper.h"
#include "tests/support/test_device.h"

namespace residuum {
namespace {

/// 'm' main, 's' side, 'u' collecting.
std::vector<GroupUse> uses_of(std::string_view kinds) {
  std::vector<GroupUse> uses;
  for (const char kind : kinds) uses.push_back({kind == 's', kind == 'u', {}});
  return uses;
}

using Places = std::vector<StreamPlace>;
constexpr StreamPlace kMain{kMainStream, {}};
StreamPlace main_after(size_t group) {
  return {kMainStream, group};
}
StreamPlace side_after(size_t group) {
  return {kSideStream, group};
}

TEST(Streams, ASideGroupWaitsForTheMainGroupBeforeIt) {
  EXPECT_EQ(assign_streams(uses_of("mssm")), (Places{kMain, side_after(0), side_after(0), kMain}));
}

TEST(Streams, WithNothingBeforeItAWeightGradientStaysOnTheMainStream) {
  EXPECT_EQ(assign_streams(uses_of("sms")), (Places{kMain, kMain, side_after(1)}));
}

TEST(Streams, AMainGroupWaitsForSideGroupsThatAreFarEnoughBack) {
  EXPECT_EQ(assign_streams(uses_of("msmsmm"), 3),
            (Places{kMain, side_after(0), kMain, side_after(2), main_after(1), kMain}));
  EXPECT_EQ(assign_streams(uses_of("mssmmm"), 3),
            (Places{kMain, side_after(0), side_after(0), kMain, main_after(1), main_after(2)}));
}

TEST(Streams, TheFirstToCollectWaitsForAll) {
  EXPECT_EQ(assign_streams(uses_of("msmsuu"), 100),
            (Places{kMain, side_after(0), kMain, side_after(2), main_after(3), kMain}));
}

TEST(Streams, AReaderOfASideGroupWaitsForIt) {
  std::vector<GroupUse> uses = uses_of("mssmm");
  uses[3].producers = {1};
  uses[4].producers = {1, 2};
  EXPECT_EQ(assign_streams(uses, 100),
            (Places{kMain, side_after(0), side_after(0), main_after(1), main_after(2)}));
}

TEST(Streams, AGroupIsDoneWhenTheNextOfItsStreamOrOneThatWaitsStarts) {
  EXPECT_EQ(done_before(assign_streams(uses_of("msmsmmu"), 3)), (std::vector<size_t>{1, 4, 3, 6, 5, 6, 7}));
  EXPECT_EQ(done_before(assign_streams(uses_of("msm"))), (std::vector<size_t>{1, 3, 3}))
      << "the end of the program is later than every group";
}

// ---- plans ----

/// A launch that only says how much scratch it wants.
class SizedLaunch : public Launch {
 public:
  explicit SizedLaunch(size_t bytes) : bytes_(bytes) {}
  size_t scratch_bytes() const override { return bytes_; }
  void bind(std::span<std::byte* const>, std::byte*) override {}
  void run(const StepParams&) override {}
  Cost cost() const override { return {}; }

 private:
  size_t bytes_;
};

/// Two streams, launches of random length with scratch of random size.
class RandomBackend : public BackendWrapper {
 public:
  explicit RandomBackend(uint64_t seed)
      : BackendWrapper(cpu_backend(1)), random_(seed, RandomPurpose::kAnalysis, 0, 0) {}
  std::vector<Group> groups(const Graph& graph) const override {
    return form_groups(graph, [this](const Graph&, std::span<const NodeId>, NodeId) {
      return random_.uniform_below(3) == 0;
    });
  }
  std::unique_ptr<Launch> prepare(const Graph&, const Group&) override {
    return std::make_unique<SizedLaunch>(random_.uniform_below(3) * random_.uniform_below(100000));
  }
  int streams() const override { return 2; }

 private:
  mutable RandomStream random_;
};

/// order[a][b]: group a is done when b starts.
std::vector<std::vector<bool>> order_of(const Plan& plan, const Places& places) {
  const size_t count = places.size();
  std::vector<std::vector<bool>> order(count, std::vector<bool>(count));
  const auto follow = [&](size_t earlier, size_t later) {
    order[earlier][later] = true;
    for (size_t g = 0; g < earlier; ++g) {
      if (order[g][earlier]) order[g][later] = true;
    }
  };
  std::optional<size_t> last[2];
  for (size_t g = 0; g < count; ++g) {
    std::optional<size_t>& before = last[places[g].stream];
    if (before) follow(*before, g);
    if (places[g].wait) follow(*places[g].wait, g);
    before = g;
    if (g < plan.update_begin) continue;
    for (size_t done = 0; done < plan.update_begin; ++done) order[done][g] = true;  // a program of its own
  }
  return order;
}

struct Range {
  size_t begin = 0, end = 0;
  bool written = false;
  bool conflicts(const Range& other) const {
    return (written || other.written) && begin < other.end && other.begin < end;
  }
};

/// What each group touches: the arena, and behind it a place of its own for every other value.
std::vector<std::vector<Range>> touched_ranges(const Plan& plan) {
  const Graph& graph = plan.graph;
  std::vector<Range> place(graph.values.size());
  for (size_t id = 0; id < place.size(); ++id) {
    const size_t begin = plan.memory.arena_bytes + id;
    if (graph.values[id].persistent()) place[id] = {begin, begin + 1};
  }
  for (size_t i = 0; i < plan.placed.size(); ++i) {
    const size_t begin = plan.memory.offsets[i];
    place[static_cast<size_t>(plan.placed[i])] = {begin, begin + plan.lifetimes[i].bytes};
  }
  std::vector<std::vector<Range>> touched(plan.groups.size());
  for (size_t g = 0; g < touched.size(); ++g) {
    const auto touch = [&](const std::vector<ValueId>& ids, bool written) {
      for (const ValueId id : ids) {
        const Range& range = place[static_cast<size_t>(id)];
        touched[g].push_back({range.begin, range.end, written});
      }
    };
    for (const NodeId node : plan.groups[g].nodes) {
      const bool in_place = graph.node(node).phase >= Phase::kAccumulate;  // these write what they read
      touch(graph.node(node).inputs, in_place);
      touch(graph.node(node).outputs, true);
    }
    const size_t scratch = plan.memory.offsets[plan.placed.size() + g];
    touched[g].push_back({scratch, scratch + plan.launches[g]->scratch_bytes(), true});
  }
  return touched;
}

/// How many pairs of launches may run at once and disturb each other.
int conflicts(const Plan& plan, const Places& places) {
  const auto order = order_of(plan, places);
  const auto touched = touched_ranges(plan);
  int found = 0;
  for (size_t b = 0; b < places.size(); ++b) {
    for (size_t a = 0; a < b; ++a) {
      if (order[a][b]) continue;
      const auto meets = [&](const Range& x) {
        return std::any_of(touched[b].begin(), touched[b].end(),
                           [&](const Range& y) { return x.conflicts(y); });
      };
      found += std::any_of(touched[a].begin(), touched[a].end(), meets) ? 1 : 0;
    }
  }
  return found;
}

Graph training_graph(const char* name, uint64_t seed) {
  RandomStream random(seed, RandomPurpose::kAnalysis, 1, 0);
  ModelOptions model;
  model.batch = 2;
  model.image_size = 32;
  TrainingPassOptions passes;
  passes.recompute = random.uniform_below(2) == 1;
  passes.relu_masks = random.uniform_below(2) == 1;
  passes.update.accumulation = 1 + static_cast<int>(random.uniform_below(2));
  return run_passes(build_model(name, model), training_passes(passes));
}

TEST(Streams, LaunchesThatNothingOrdersDisturbNobody) {
  size_t beside = 0;
  for (const char* name : {"cifar_resnet8", "cifar_preresnet20", "resnet18", "resnet50"}) {
    for (uint64_t seed = 0; seed < 6; ++seed) {
      RandomBackend backend(seed);
      const Plan plan = make_plan(training_graph(name, seed), backend);
      EXPECT_EQ(conflicts(plan, plan.places), 0) << name << ", seed " << seed;
      for (const StreamPlace& place : plan.places) beside += place.stream == kSideStream ? 1 : 0;
    }
  }
  EXPECT_GT(beside, 200u);
}

TEST(Streams, ThePlanOfOneStreamDoesNotServeTwo) {
  RandomBackend backend(1);
  PlanOptions options;
  options.second_stream = false;
  const Plan plan = make_plan(training_graph("resnet18", 1), backend, options);
  EXPECT_EQ(conflicts(plan, plan.places), 0);
  EXPECT_GT(conflicts(plan, assign_streams(group_uses(plan.graph, plan.groups))), 0);
}

TEST(Streams, AWaitThatIsMissingIsAConflict) {
  RandomBackend backend(1);
  const Plan plan = make_plan(training_graph("resnet18", 1), backend);
  Places late = plan.places;
  for (StreamPlace& place : late) {
    if (place.stream == kMainStream) place.wait.reset();
  }
  EXPECT_GT(conflicts(plan, late), 0);
  Places early = plan.places;
  for (StreamPlace& place : early) {
    if (place.stream == kSideStream) place.wait.reset();
  }
  EXPECT_GT(conflicts(plan, early), 0);
}

TEST(Streams, AProgramKeepsTheWaitsInsideOfIt) {
  RandomBackend backend(2);
  const Plan plan = make_plan(training_graph("cifar_resnet8", 2), backend);
  const auto micro_step = recorded_launches(plan, 0, plan.update_begin);
  const auto update = recorded_launches(plan, plan.update_begin, plan.groups.size());
  ASSERT_EQ(micro_step.size() + update.size(), plan.groups.size());
  for (size_t g = 0; g < micro_step.size(); ++g) {
    EXPECT_EQ(micro_step[g].launch, plan.launches[g].get());
    EXPECT_EQ(micro_step[g].stream, plan.places[g].stream);
    EXPECT_EQ(micro_step[g].wait, plan.places[g].wait);
  }
  for (const RecordedLaunch& recorded : update) EXPECT_FALSE(recorded.wait);
}

TEST(Streams, ABackendOfOneStreamGetsOne) {
  const Plan plan = make_plan(training_graph("cifar_resnet8", 0), cpu_backend(1));
  for (const StreamPlace& place : plan.places) EXPECT_EQ(place, kMain);
}

}  // namespace
}  // namespace residuum
