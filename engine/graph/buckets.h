// Which gradients are summed over the ranks together. A bucket large enough hides the latency of a
// collective; one small enough is on its way before the backward pass ends.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace residuum {

/// Gradients [begin, end) of a list in the order in which the backward pass makes them.
struct Bucket {
  size_t begin = 0, end = 0;
  size_t bytes = 0;

  bool operator==(const Bucket&) const = default;
};

/// Cuts a list of gradients of these sizes: a bucket is full with the gradient that brings it to
/// `bucket_bytes` or above; what is left makes the last one. 0 bytes: one bucket a gradient. A gradient is
/// never cut.
std::vector<Bucket> make_buckets(std::span<const size_t> gradient_bytes, size_t bucket_bytes);

/// The size asked for, or when that is 0 the one for `total_bytes` of gradients: an eighth, so that seven
/// eighths can overlap the backward pass, but at least 1 MiB, below which latency counts more than bandwidth,
/// and at most 32 MiB.
size_t bucket_bytes_for(size_t total_bytes, size_t asked = 0);

}  // namespace residuum
