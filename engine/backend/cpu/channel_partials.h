// Sums over the batch that are one double per channel and shard, in the shared scratch, and the tasks that
// combine them. Invariant: a shard writes its own part only, and parts are combined in shard order, so
// threads do not change the bits.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace residuum::cpu {

/// `sums` doubles per channel for each of `shards` shards.
class ChannelPartials {
 public:
  ChannelPartials(int64_t channels, int shards, int sums)
      : channels_(channels), shards_(shards), sums_(sums) {}

  size_t bytes() const { return static_cast<size_t>(channels_ * shards_ * sums_) * sizeof(double); }
  void bind(std::byte* memory) { base_ = reinterpret_cast<double*>(memory); }
  /// The channels of sum `sum` of one shard.
  double* part(int shard, int sum) const { return base_ + (int64_t{shard} * sums_ + sum) * channels_; }
  int shards() const { return shards_; }
  int64_t channels() const { return channels_; }

  /// Tasks that share the channels, small enough for several threads and large enough to be worth one.
  int tasks() const { return static_cast<int>((channels_ + kChannelsPerTask - 1) / kChannelsPerTask); }
  /// Calls body(channel) for the channels of one task.
  template <typename Body>
  void for_channels(int task, Body body) const {
    const int64_t first = task * kChannelsPerTask;
    for (int64_t c = first; c < std::min(channels_, first + kChannelsPerTask); ++c) body(c);
  }
  /// The sum over the shards, in order.
  double total(int sum, int64_t channel) const {
    double result = 0;
    for (int shard = 0; shard < shards_; ++shard) result += part(shard, sum)[channel];
    return result;
  }

 private:
  static constexpr int64_t kChannelsPerTask = 256;

  int64_t channels_;
  int shards_, sums_;
  double* base_ = nullptr;
};

}  // namespace residuum::cpu
