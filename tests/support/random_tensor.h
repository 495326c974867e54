// Reproducible test data: every function depends on shape and seed alone.
#pragma once

#include "tests/reference/reference.h"

namespace residuum {

/// Uniform in [low, high).
reference::Tensor uniform_tensor(const Shape& shape, uint64_t seed, double low = -1, double high = 1);
/// Uniform in [-1, 1) but at least 0.05 away from zero, where ReLU has a kink.
reference::Tensor kinkless_tensor(const Shape& shape, uint64_t seed);
/// A permutation of equally spaced values in [-1, 1): no two elements are equal or close.
reference::Tensor distinct_tensor(const Shape& shape, uint64_t seed);
/// Integers in [0, bound).
reference::Tensor integer_tensor(const Shape& shape, uint64_t seed, uint32_t bound);

}  // namespace residuum
