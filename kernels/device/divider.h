// Division by a number fixed at launch, as a multiplication: plain C++, for kernels and their tests.
#pragma once

#include <cstdint>

namespace residuum::kernels {

/// Division of numbers below 2^31 by a number fixed at launch, as a multiplication (Granlund and Montgomery
/// 1994).
class Divider {
 public:
  Divider() = default;
  constexpr explicit Divider(int64_t divisor) : divisor_(static_cast<uint32_t>(divisor)) {
    while ((uint64_t{1} << shift_) < divisor_) ++shift_;
    magic_ =
        static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift_) - divisor_)) / divisor_ + 1);
  }
  constexpr uint32_t quotient(uint32_t value) const {
    const uint32_t high = static_cast<uint32_t>((uint64_t{value} * magic_) >> 32);
    return (high + value) >> shift_;
  }
  /// {value / divisor, value % divisor}.
  struct Parts {
    uint32_t quotient, remainder;
  };
  constexpr Parts split(uint32_t value) const {
    const uint32_t q = quotient(value);
    return {q, value - q * divisor_};
  }

 private:
  uint32_t divisor_ = 1, magic_ = 1, shift_ = 0;
};

}  // namespace residuum::kernels
