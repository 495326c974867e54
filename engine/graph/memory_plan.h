// Offsets in one arena for things that live over an interval of steps. Invariant: two blocks whose lives
// overlap never overlap in memory.
#pragma once

#include <cstddef>
#include <vector>

namespace residuum {

/// Something alive from step `first` to step `last`, both included. Blocks of 0 bytes get offset 0.
struct Lifetime {
  size_t bytes = 0;
  int first = 0, last = 0;
};

struct MemoryPlan {
  std::vector<size_t> offsets;  ///< one per lifetime, multiples of the alignment
  size_t arena_bytes = 0;       ///< the peak
  size_t unshared_bytes = 0;    ///< what the blocks would take without reuse
};

inline constexpr size_t kArenaAlignment = 256;

/// Bytes that something takes in memory where everything begins at a multiple of the alignment.
constexpr size_t arena_aligned(size_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

/// Places the largest block first, each at the lowest free offset (greedy by size, Pisarchyk & Lee 2020,
/// 2001.03288). With `reuse` off every block gets memory of its own.
MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes, bool reuse = true);

}  // namespace residuum
