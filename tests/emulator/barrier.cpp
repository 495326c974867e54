// __syncthreads and its variants. Stricter than the hardware, which lets exited threads be absent: every
// thread of the block has to come to the same barrier.
#include "tests/emulator/grid.h"
#include "tests/emulator/race.h"

namespace residuum::emulator {
namespace {

int combine(const Block& block) {
  switch (block.kind) {
    case Barrier::kPlain:
      return 0;
    case Barrier::kOr:
      return block.predicates > 0;
    case Barrier::kAnd:
      return block.predicates == block.size;
    case Barrier::kCount:
      return static_cast<int>(block.predicates);
  }
  return 0;
}

void check_arrival(const Block& block, Barrier kind, const CallSite& site) {
  if (block.live != block.size) {
    fault(std::string("divergent barrier: ") + name_of(kind) + " at " + to_string(site) + ", which " +
          std::to_string(block.size - block.live) + " threads of the block cannot reach: they have exited");
  }
  if (block.arrived > 0 && (block.kind != kind || !(block.site == site))) {
    fault(std::string("divergent barrier: ") + name_of(kind) + " at " + to_string(site) + ", but " +
          std::to_string(block.arrived) + " threads of the block wait at " + name_of(block.kind) + " at " +
          to_string(block.site));
  }
}

}  // namespace

int barrier(Barrier kind, bool predicate, CallSite site) {
  Block& block = *current_thread().owner;
  check_arrival(block, kind, site);
  block.kind = kind;
  block.site = site;
  block.predicates += predicate;
  if (++block.arrived < block.size) {
    suspend();
    return block.result;  // the next barrier needs this thread, so the result is still this one's
  }
  check_warpgroups(block);
  block.result = combine(block);
  block.arrived = block.predicates = 0;
  for (Warp& warp : block.warps) make_ready(warp, warp.live);
  if (race_detector) race_detector->barrier(block);
  return block.result;
}

}  // namespace residuum::emulator
