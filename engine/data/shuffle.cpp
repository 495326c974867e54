// Fisher-Yates with one counter-based draw for each position.
#include "engine/data/shuffle.h"

#include <limits>
#include <numeric>
#include <utility>

#include "engine/core/check.h"
#include "engine/core/random.h"

namespace residuum {

std::vector<int64_t> shuffled_order(int64_t count, uint64_t seed, uint64_t epoch) {
  check(count >= 0 && count <= std::numeric_limits<uint32_t>::max(), ErrorKind::kConfig,
        "{} samples to shuffle, allowed are 0 to 2^32 - 1", count);
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (size_t i = order.size(); i-- > 1;) {
    RandomStream random(seed, RandomPurpose::kShuffle, epoch, i);
    std::swap(order[i], order[random.uniform_below(static_cast<uint32_t>(i + 1))]);
  }
  return order;
}

}  // namespace residuum
