// The order of samples in an epoch: a function of (seed, epoch, number of samples) alone.
#pragma once

#include <cstdint>
#include <vector>

namespace residuum {

/// A permutation of 0 .. count - 1: Fisher-Yates from the end, the partner of position i drawn from
/// RandomStream(seed, kShuffle, epoch, i). `count` < 2^32.
std::vector<int64_t> shuffled_order(int64_t count, uint64_t seed, uint64_t epoch);

}  // namespace residuum
