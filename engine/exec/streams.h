// Which launches of a step run beside the others. The gradients of weights are needed by the update alone, so
// their launches go to a second stream and fill the places that the chain of data gradients leaves empty.
// Invariant: of two launches that no order of streams and waits separates, one is a weight gradient between
// its own place and that of the launch that waits for it; memory is kept for just that long (done_before).
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/graph/group.h"

namespace residuum {

inline constexpr int kMainStream = 0, kSideStream = 1;
/// The main stream waits for launches of the side stream that are this many groups back: what they read stays
/// in memory until then. About two convolutions' backward passes: enough to fill the gaps of one.
inline constexpr size_t kSideLag = 6;

/// What the rule needs to know of a group.
struct GroupUse {
  /// Makes weight gradients, in the backward phase, which the update alone reads (not so the products of
  /// which the gram_batch_norm pass makes other gradients).
  bool side = false;
  bool collects = false;          ///< accumulates or updates: reads what all side groups made
  std::vector<size_t> producers;  ///< earlier groups whose results it reads
};
std::vector<GroupUse> group_uses(const Graph& graph, const std::vector<Group>& groups);

/// Where a group runs. Groups of one stream run in their order.
struct StreamPlace {
  int stream = kMainStream;
  /// An earlier group of the other stream that must be done, and so all before it.
  std::optional<size_t> wait;

  bool operator==(const StreamPlace&) const = default;
};

/// A side group waits for the main group before it (without one, it stays on the main stream); a main group
/// for the last side group that is at least `lag` groups back, or whose results it reads, or, when it
/// collects, for the last of all. A side group that nobody waits for is done at the end of its program.
std::vector<StreamPlace> assign_streams(const std::vector<GroupUse>& uses, size_t lag = kSideLag);

/// For each group, the first later group that can only start when it is done, on whichever stream; where
/// there is none, the number of groups.
std::vector<size_t> done_before(const std::vector<StreamPlace>& places);

}  // namespace residuum
