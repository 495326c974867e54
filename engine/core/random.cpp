#include "engine/core/random.h"

#include <cmath>
#include <numbers>

namespace residuum {

uint32_t RandomStream::uniform_below(uint32_t bound) {
  const uint32_t threshold = (0u - bound) % bound;
  for (;;) {
    const uint64_t product = uint64_t{next_u32()} * bound;
    if (static_cast<uint32_t>(product) >= threshold) return static_cast<uint32_t>(product >> 32);
  }
}

double RandomStream::normal() {
  const double u = 1.0 - uniform_double();  // in (0, 1]: the logarithm is finite
  const double v = uniform_double();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

}  // namespace residuum
