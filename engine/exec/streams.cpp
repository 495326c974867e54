#include "engine/exec/streams.h"

#include <algorithm>

namespace residuum {
namespace {

bool makes_weight_gradients(const Op& op) {
  return std::holds_alternative<ConvBackwardFilter>(op) || std::holds_alternative<LinearBackwardFilter>(op) ||
         std::holds_alternative<GramBackwardFilter>(op);
}

/// What the main stream reads before the update is made there: nothing would be gained by waiting for it.
void keep_what_main_reads(std::vector<GroupUse>& uses) {
  for (size_t g = uses.size(); g-- > 0;) {
    if (uses[g].side || uses[g].collects) continue;
    for (const size_t producer : uses[g].producers) uses[producer].side = false;
  }
}

}  // namespace

std::vector<GroupUse> group_uses(const Graph& graph, const std::vector<Group>& groups) {
  std::vector<GroupUse> uses(groups.size());
  std::vector<size_t> group_of(graph.nodes.size());
  for (size_t g = 0; g < groups.size(); ++g) {
    GroupUse& use = uses[g];
    for (const NodeId id : groups[g].nodes) {
      const Node& node = graph.node(id);
      group_of[static_cast<size_t>(id)] = g;
      use.side |= makes_weight_gradients(node.op);
      use.collects |= node.phase >= Phase::kAccumulate;
      for (const ValueId value : node.inputs) {
        const NodeId producer = graph.value(value).producer;
        if (producer == kNone) continue;
        const size_t source = group_of[static_cast<size_t>(producer)];
        if (source != g) use.producers.push_back(source);
      }
    }
    use.side &= !use.collects;
  }
  keep_what_main_reads(uses);
  return uses;
}

std::vector<StreamPlace> assign_streams(const std::vector<GroupUse>& uses, size_t lag) {
  std::vector<StreamPlace> places(uses.size());
  std::optional<size_t> last_main;
  std::vector<size_t> open;  // side groups that no main group has waited for
  for (size_t g = 0; g < uses.size(); ++g) {
    StreamPlace& place = places[g];
    if (uses[g].side && last_main) {
      place = {kSideStream, last_main};
      open.push_back(g);
      continue;
    }
    last_main = g;
    const auto must_be_done = [&](size_t side) {
      const auto& producers = uses[g].producers;
      return uses[g].collects || g - side >= lag ||
             std::find(producers.begin(), producers.end(), side) != producers.end();
    };
    const auto last = std::find_if(open.rbegin(), open.rend(), must_be_done);
    if (last == open.rend()) continue;
    place.wait = *last;
    open.erase(open.begin(), last.base());
  }
  return places;
}

std::vector<size_t> done_before(const std::vector<StreamPlace>& places) {
  std::vector<size_t> done(places.size());
  size_t first = 0;  // of the side groups that no main group has waited for
  for (size_t g = 0; g < places.size(); ++g) {
    if (places[g].stream == kMainStream)
      done[g] = g + 1;
    else
      done[g] = places.size();
    if (places[g].stream != kMainStream || !places[g].wait) continue;
    for (; first <= *places[g].wait; ++first) {
      if (places[first].stream == kSideStream) done[first] = g;
    }
  }
  return done;
}

}  // namespace residuum
