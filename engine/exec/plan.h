// A plan: the graph cut into launches with every address fixed. It can be printed, costed and run.
#pragma once

#include <memory>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/comm/exchange.h"
#include "engine/exec/streams.h"
#include "engine/graph/cost.h"
#include "engine/graph/graph.h"
#include "engine/graph/group.h"
#include "engine/graph/memory_plan.h"

namespace residuum {

struct PlanOptions {
  bool group = true;             ///< off: one launch per node
  bool reuse = true;             ///< off: every value has memory of its own
  bool second_stream = true;     ///< off: one stream, also on a backend that has two
  Exchange* exchange = nullptr;  ///< runs all-reduces; null: a plan with some cannot run
};

struct Plan {
  Graph graph;
  std::vector<Group> groups;
  std::vector<std::unique_ptr<Launch>> launches;  ///< one per group
  std::vector<StreamPlace> places;                ///< one per group
  size_t update_begin = 0;          ///< groups [0, update_begin) are a micro-step, the rest the update
  std::vector<ValueId> placed;      ///< values with a place in the arena; lifetime i is placed[i]'s ...
  std::vector<Lifetime> lifetimes;  ///< ... and after those come the launches' scratch, one per group
  MemoryPlan memory;
  size_t persistent_bytes = 0;  ///< parameters, running statistics, optimizer state

  /// Bytes one step needs: arena and persistent values.
  size_t peak_bytes() const { return memory.arena_bytes + persistent_bytes; }
  /// The sum over the launches.
  Cost cost() const;
};

/// Whether a group is an all-reduce, which is no backend's launch.
bool is_all_reduce(const Graph& graph, const Group& group);
/// The value in whose memory `id` lies: an all-reduce leaves its results where its inputs were.
ValueId place_of(const Graph& graph, ValueId id);

/// Whether a group reads the result of an all-reduce, and so waits for it.
bool reads_sums(const Graph& graph, const Group& group);

/// The launches of groups [begin, end), none of them an all-reduce, with their streams, as a program of its
/// own: what they would wait for before `begin` is done when the program before ends, and launches that would
/// begin the side stream like that are on the main one.
std::vector<RecordedLaunch> recorded_launches(const Plan& plan, size_t begin, size_t end);

/// Groups, prepares and places `graph` for a backend. Graph inputs live in the arena for the whole step,
/// graph outputs until its end.
Plan make_plan(Graph graph, Backend& backend, const PlanOptions& options = {});

}  // namespace residuum
