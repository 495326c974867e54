// Whole numbers of any size for counting paths: 2^600 of them, exactly.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace residuum {

/// A whole number >= 0. Invariant: limbs of base 10^18, the lowest first, without leading zeros; 0 has none.
class BigCount {
 public:
  BigCount() = default;
  BigCount(uint64_t value);  // NOLINT: a number is a count

  BigCount& operator+=(const BigCount& other);
  friend BigCount operator+(BigCount a, const BigCount& b) { return a += b; }
  bool operator==(const BigCount&) const = default;
  bool is_zero() const { return limbs_.empty(); }

  /// Every decimal digit.
  std::string to_string() const;
  /// Natural logarithm, to double precision; minus infinity for 0.
  double log() const;

 private:
  std::vector<uint64_t> limbs_;
};

/// Binomial coefficients C(n, 0) .. C(n, n), by Pascal's triangle.
std::vector<BigCount> binomials(int64_t n);

}  // namespace residuum
