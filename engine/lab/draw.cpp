#include "engine/lab/draw.h"

#include <algorithm>
#include <numeric>

namespace residuum {

std::vector<int> choose(int total, int count, RandomStream& random) {
  std::vector<int> all(static_cast<size_t>(total));
  std::iota(all.begin(), all.end(), 0);
  for (int i = 0; i < count; ++i) {
    const auto left = static_cast<uint32_t>(total - i);
    std::swap(all[static_cast<size_t>(i)], all[static_cast<size_t>(i) + random.uniform_below(left)]);
  }
  all.resize(static_cast<size_t>(count));
  std::sort(all.begin(), all.end());
  return all;
}

double kendall_tau(const std::vector<int>& order) {
  const auto n = static_cast<double>(order.size());
  if (order.size() < 2) return 1;
  int64_t inversions = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    for (size_t j = i + 1; j < order.size(); ++j) inversions += order[i] > order[j] ? 1 : 0;
  }
  return 1 - 4 * static_cast<double>(inversions) / (n * (n - 1));
}

}  // namespace residuum
