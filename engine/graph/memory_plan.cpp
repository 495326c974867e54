#include "engine/graph/memory_plan.h"

#include <algorithm>
#include <numeric>

namespace residuum {

MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes, bool reuse) {
  MemoryPlan plan;
  plan.offsets.resize(lifetimes.size());
  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });

  std::vector<size_t> placed;  // by rising offset
  for (size_t item : order) {
    const Lifetime& life = lifetimes[item];
    const size_t bytes = arena_aligned(life.bytes);
    plan.unshared_bytes += bytes;
    if (bytes == 0) continue;
    size_t offset = 0;
    for (size_t other : placed) {
      const bool together =
          !reuse || (lifetimes[other].first <= life.last && life.first <= lifetimes[other].last);
      if (!together) continue;
      if (plan.offsets[other] >= offset + bytes) break;
      offset = std::max(offset, plan.offsets[other] + arena_aligned(lifetimes[other].bytes));
    }
    plan.offsets[item] = offset;
    plan.arena_bytes = std::max(plan.arena_bytes, offset + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), offset,
                                   [&](size_t value, size_t other) { return value < plan.offsets[other]; }),
                  item);
  }
  return plan;
}

}  // namespace residuum
