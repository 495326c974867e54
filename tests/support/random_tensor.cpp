#include "tests/support/random_tensor.h"

#include <numeric>

#include "engine/core/random.h"

namespace residuum {
namespace {

RandomStream stream(uint64_t seed) {
  return {seed, RandomPurpose::kAnalysis, 0, 0};
}

}  // namespace

reference::Tensor uniform_tensor(const Shape& shape, uint64_t seed, double low, double high) {
  RandomStream random = stream(seed);
  reference::Tensor tensor(shape);
  for (double& value : tensor.data) value = low + (high - low) * double{random.uniform()};
  return tensor;
}

reference::Tensor kinkless_tensor(const Shape& shape, uint64_t seed) {
  reference::Tensor tensor = uniform_tensor(shape, seed);
  for (double& value : tensor.data) value = value * 0.95 + (value < 0 ? -0.05 : 0.05);
  return tensor;
}

reference::Tensor distinct_tensor(const Shape& shape, uint64_t seed) {
  RandomStream random = stream(seed);
  reference::Tensor tensor(shape);
  for (int64_t i = 0; i < tensor.elements(); ++i)
    tensor[i] = -1 + 2 * static_cast<double>(i) / static_cast<double>(tensor.elements());
  for (int64_t i = tensor.elements() - 1; i > 0; --i)
    std::swap(tensor[i], tensor[random.uniform_below(static_cast<uint32_t>(i + 1))]);
  return tensor;
}

reference::Tensor integer_tensor(const Shape& shape, uint64_t seed, uint32_t bound) {
  RandomStream random = stream(seed);
  reference::Tensor tensor(shape);
  for (double& value : tensor.data) value = random.uniform_below(bound);
  return tensor;
}

}  // namespace residuum
