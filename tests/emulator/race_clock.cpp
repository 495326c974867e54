// Joining and comparing what threads know.
#include "tests/emulator/race_clock.h"

#include <algorithm>
#include <bit>

namespace residuum::emulator {
namespace {

void raise(LaneEpochs& epochs, const LaneEpochs& other) {
  for (size_t lane = 0; lane < epochs.size(); ++lane) epochs[lane] = std::max(epochs[lane], other[lane]);
}

}  // namespace

bool covers(const LaneEpochs& epochs, const Moment& moment) {
  for (uint32_t lanes = moment.lanes; lanes; lanes &= lanes - 1) {
    if (epochs[static_cast<size_t>(std::countr_zero(lanes))] < moment.epoch) return false;
  }
  return true;
}

void BlockKnowledge::join(const BlockKnowledge& other) {
  if (other.phase < phase) return;
  if (other.phase > phase) {
    *this = other;
    return;
  }
  for (const auto& [warp, epochs] : other.warps) raise(warps[warp], epochs);
}

bool BlockKnowledge::covers(const Moment& moment) const {
  if (moment.phase != phase) return moment.phase < phase;
  const auto found = warps.find(moment.warp);
  return found != warps.end() && emulator::covers(found->second, moment);
}

Knowledge join(const Knowledge& a, const Knowledge& b) {
  if (a == b || !b) return a;
  if (!a) return b;
  auto both = std::make_shared<std::map<uint32_t, BlockKnowledge>>(*a);
  for (const auto& [block, knowledge] : *b) (*both)[block].join(knowledge);
  return both;
}

bool covers(const Knowledge& knowledge, const Moment& moment) {
  if (!knowledge) return false;
  const auto found = knowledge->find(moment.block);
  return found != knowledge->end() && found->second.covers(moment);
}

void ThreadClock::start(uint32_t block, uint8_t warp, unsigned lane) {
  *this = {};
  block_ = block;
  warp_ = warp;
  lane_ = lane;
  seen_[lane] = 1;
}

bool ThreadClock::knows_in_block(const Moment& moment) const {
  if (moment.block != block_) return false;
  return moment.phase < phase_ || (moment.warp == warp_ && emulator::covers(seen_, moment));
}

bool ThreadClock::knows(const Moment& moment) const {
  return knows_in_block(moment) || emulator::covers(known_, moment);
}

void ThreadClock::pass_barrier(const Knowledge& known) {
  ++phase_;
  seen_.fill(0);
  seen_[lane_] = 1;
  known_ = known;
  product_fences_at_barrier_ = product_fences_;
}

void ThreadClock::pass_warp_sync(const LaneEpochs& seen, const Knowledge& known) {
  seen_ = seen;
  ++seen_[lane_];
  known_ = known;
}

void ThreadClock::fence() {
  known_ = join(known_, pending_);
  pending_ = nullptr;
  std::map<uint32_t, BlockKnowledge> own;
  own[block_] = {phase_, {{warp_, seen_}}};
  fenced_ = join(known_, std::make_shared<const std::map<uint32_t, BlockKnowledge>>(std::move(own)));
  last_fence_ = now();
  ++seen_[lane_];
}

Moment ThreadClock::atomic(Knowledge& released) {
  pending_ = join(pending_, released);
  released = join(released, fenced_);
  return fenced_ ? last_fence_ : now();
}

}  // namespace residuum::emulator
