// What a thread knows to have happened before now. Within a block a barrier counts phases: all of an earlier
// phase is known. Within a warp and a phase, __syncwarp exchanges the lanes' epochs. Anything else (other
// blocks; other warps without a barrier) is known only through a fence, an atomic, an atomic of another
// thread on the same address that comes later, and a fence after it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>

namespace residuum::emulator {

using LaneEpochs = std::array<uint32_t, 32>;

/// A moment of one or a few lanes of a warp.
struct Moment {
  uint32_t block = 0, phase = 0, epoch = 0;
  uint32_t lanes = 0;
  uint8_t warp = 0;
};

/// Of a block: everything of the phases before `phase`, and in it, by warp, what each lane did up to an
/// epoch.
struct BlockKnowledge {
  uint32_t phase = 0;
  std::map<uint8_t, LaneEpochs> warps;

  void join(const BlockKnowledge& other);
  bool covers(const Moment& moment) const;
};

/// By block; never changed once made, shared by all who know the same. Null: nothing.
using Knowledge = std::shared_ptr<const std::map<uint32_t, BlockKnowledge>>;
Knowledge join(const Knowledge& a, const Knowledge& b);
bool covers(const Knowledge& knowledge, const Moment& moment);

/// Whether every lane of the moment is known up to it.
bool covers(const LaneEpochs& epochs, const Moment& moment);

/// One thread's.
class ThreadClock {
 public:
  void start(uint32_t block, uint8_t warp, unsigned lane);
  /// Now; later than any moment given out before a synchronisation.
  Moment now() const { return {block_, phase_, seen_[lane_], 1u << lane_, warp_}; }
  bool knows(const Moment& moment) const;
  /// By barriers and __syncwarp alone.
  bool knows_in_block(const Moment& moment) const;

  /// A barrier that leaves every thread of the block with `known`.
  void pass_barrier(const Knowledge& known);
  /// __syncwarp that leaves its lanes with these.
  void pass_warp_sync(const LaneEpochs& seen, const Knowledge& known);
  void fence();
  /// An atomic on an address whose earlier atomics have released `released`, to which this one adds. Returns
  /// the moment the atomic counts as: that of the fence before it.
  Moment atomic(Knowledge& released);

  /// Fences for products: so many, now and before the last barrier.
  void fence_for_products() { ++product_fences_; }
  uint16_t product_fences() const { return product_fences_; }
  uint16_t product_fences_at_barrier() const { return product_fences_at_barrier_; }

  const LaneEpochs& seen() const { return seen_; }
  const Knowledge& known() const { return known_; }

 private:
  uint32_t block_ = 0, phase_ = 0;
  uint8_t warp_ = 0;
  unsigned lane_ = 0;
  LaneEpochs seen_{};  ///< of the own warp in this phase; the own entry is the own epoch, from 1
  Knowledge known_;
  Knowledge fenced_;   ///< what the last fence allows an atomic to release
  Knowledge pending_;  ///< acquired by atomics; known after a fence
  Moment last_fence_;
  uint16_t product_fences_ = 0, product_fences_at_barrier_ = 0;
};

}  // namespace residuum::emulator
