#include "engine/graph/buckets.h"

#include <algorithm>

namespace residuum {

std::vector<Bucket> make_buckets(std::span<const size_t> gradient_bytes, size_t bucket_bytes) {
  std::vector<Bucket> buckets;
  Bucket open;
  for (const size_t bytes : gradient_bytes) {
    open.bytes += bytes;
    ++open.end;
    if (open.bytes < bucket_bytes) continue;
    buckets.push_back(open);
    open = {open.end, open.end, 0};
  }
  if (open.end > open.begin) buckets.push_back(open);
  return buckets;
}

size_t bucket_bytes_for(size_t total_bytes, size_t asked) {
  constexpr size_t kSmallest = size_t{1} << 20, kLargest = size_t{32} << 20;
  return asked > 0 ? asked : std::clamp(total_bytes / 8, kSmallest, kLargest);
}

}  // namespace residuum
