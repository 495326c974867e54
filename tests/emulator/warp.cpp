// Warp collectives: the last lane of the mask to arrive runs the operation for all. Lanes that do not belong
// together are a fault at once; a lane that never comes is found as a deadlock.
#include <bit>

#include "tests/emulator/device_functions.h"
#include "tests/emulator/grid.h"
#include "tests/emulator/race.h"

namespace residuum::emulator {
namespace {

/// The first lane to come checks the mask: later an exit would be a fault of its own.
Gathering& begin_gathering(Warp& warp, const Gathering& call) {
  if (const uint32_t absent = call.mask & ~warp.live) {
    fault("absent lane: " + describe(call) + " names lane " + std::to_string(std::countr_zero(absent)) +
          ", which has exited or does not exist");
  }
  return warp.gathering[warp.gatherings++] = call;
}

/// The lanes that wait at the same call; a new, empty set when there is none. Lanes that wait for this one
/// elsewhere, while it waits for them here, would wait forever.
[[gnu::noinline]] Gathering& find_gathering(Warp& warp, unsigned lane, const Gathering& call) {
  if (!(call.mask >> lane & 1)) fault(describe(call) + ": the calling lane is not in the mask");
  for (unsigned i = 0; i < warp.gatherings; ++i) {
    Gathering& other = warp.gathering[i];
    if (other.collective == call.collective && other.mask == call.mask && other.site == call.site)
      return other;
    if ((other.mask >> lane & 1) && (other.arrived & call.mask)) {
      fault("warp function mismatch: the thread calls " + describe(call) + ", but lane " +
            std::to_string(std::countr_zero(other.arrived & call.mask)) + " of its warp waits at " +
            describe(other));
    }
  }
  return begin_gathering(warp, call);
}

/// The common case without a search or a call: the only waiting lanes wait here.
Gathering& join_gathering(Warp& warp, unsigned lane, const Gathering& call) {
  Gathering& first = warp.gathering[0];
  const bool same = first.collective == call.collective && first.mask == call.mask &&
                    first.site.line == call.site.line && first.site.column == call.site.column &&
                    first.site.file == call.site.file;
  if (warp.gatherings == 1 && same && (call.mask >> lane & 1)) return first;
  return find_gathering(warp, lane, call);
}

template <typename Call>
void for_lanes(uint32_t mask, const Call& call) {
  for (; mask; mask &= mask - 1) call(std::countr_zero(mask));
}

void run_shuffle(void* const* posted, uint32_t mask) {
  uint64_t values[32];
  for_lanes(mask, [&](int lane) { values[lane] = static_cast<const Shuffle*>(posted[lane])->value; });
  for_lanes(mask, [&](int lane) {
    auto* shuffle = static_cast<Shuffle*>(posted[lane]);
    if (!(mask >> shuffle->source & 1)) {
      fault("a shuffle of lane " + std::to_string(lane) + " reads lane " + std::to_string(shuffle->source) +
            ", which is not in the mask");
    }
    shuffle->value = values[shuffle->source];
  });
}

uint32_t gather_votes(void* const* posted, uint32_t mask) {
  uint32_t votes = 0;
  for_lanes(mask, [&](int lane) {
    votes |= static_cast<uint32_t>(static_cast<const Vote*>(posted[lane])->predicate) << lane;
  });
  return votes;
}

void run_vote(void* const* posted, uint32_t mask) {
  const uint32_t votes = gather_votes(posted, mask);
  for_lanes(mask, [&](int lane) { static_cast<Vote*>(posted[lane])->votes = votes; });
}

void run_nothing(void* const*, uint32_t) {}

constexpr Collective kShuffles[] = {{"__shfl_sync", run_shuffle},
                                    {"__shfl_up_sync", run_shuffle},
                                    {"__shfl_down_sync", run_shuffle},
                                    {"__shfl_xor_sync", run_shuffle}};
constexpr Collective kVotes[] = {
    {"__ballot_sync", run_vote}, {"__any_sync", run_vote}, {"__all_sync", run_vote}};
constexpr Collective kSyncWarp = {"__syncwarp", run_nothing, true};

/// The lane that a shuffle reads, as the CUDA programming guide defines it: within segments of `width` lanes.
int source_lane(ShuffleKind kind, int lane, int argument, int width) {
  const int first = lane & ~(width - 1), last = first + width - 1;
  int source = lane;
  switch (kind) {
    case ShuffleKind::kIndex:
      return first + (argument & (width - 1));
    case ShuffleKind::kUp:
      source = lane - argument;
      return source < first ? lane : source;
    case ShuffleKind::kDown:
      source = lane + argument;
      break;
    case ShuffleKind::kXor:
      source = lane ^ argument;
      break;
  }
  return source > last ? lane : source;
}

}  // namespace

void warp_collective(const Collective& collective, uint32_t mask, void* arguments, CallSite site) {
  Thread& self = current_thread();
  Warp& warp = *self.warp;
  Gathering& gathering = join_gathering(warp, self.lane, {&collective, site, mask, 0});
  gathering.arrived |= 1u << self.lane;
  warp.posted[self.lane] = arguments;
  if (gathering.arrived != mask) return suspend();
  gathering = warp.gathering[--warp.gatherings];
  collective.run(warp.posted, mask);
  if (collective.orders_memory && race_detector) race_detector->sync_warp(warp, mask);
  make_ready(warp, mask);
}

uint64_t shuffle(ShuffleKind kind, uint32_t mask, uint64_t value, int argument, int width, CallSite site) {
  const Collective& collective = kShuffles[static_cast<int>(kind)];
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
    fault(std::string(collective.name) + " at " + to_string(site) + ": width " + std::to_string(width) +
          "; a power of two up to 32 is allowed");
  }
  Shuffle arguments{value, source_lane(kind, static_cast<int>(current_thread().lane), argument, width)};
  warp_collective(collective, mask, &arguments, site);
  return arguments.value;
}

uint32_t vote(VoteKind kind, uint32_t mask, bool predicate, CallSite site) {
  Vote arguments{predicate, 0};
  warp_collective(kVotes[static_cast<int>(kind)], mask, &arguments, site);
  return arguments.votes;
}

void sync_warp(uint32_t mask, CallSite site) {
  warp_collective(kSyncWarp, mask, nullptr, site);
}

}  // namespace residuum::emulator
