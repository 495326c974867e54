#include "engine/lab/big_count.h"

#include <fmt/core.h>

#include <cmath>
#include <limits>

namespace residuum {
namespace {

constexpr uint64_t kBase = 1'000'000'000'000'000'000;  // the largest power of ten whose double fits 64 bits

}  // namespace

BigCount::BigCount(uint64_t value) {
  for (; value > 0; value /= kBase) limbs_.push_back(value % kBase);
}

BigCount& BigCount::operator+=(const BigCount& other) {
  if (limbs_.size() < other.limbs_.size()) limbs_.resize(other.limbs_.size());
  uint64_t carry = 0;
  for (size_t i = 0; i < limbs_.size(); ++i) {
    const uint64_t sum = limbs_[i] + carry + (i < other.limbs_.size() ? other.limbs_[i] : 0);
    carry = sum >= kBase ? 1 : 0;
    limbs_[i] = sum - carry * kBase;
  }
  if (carry > 0) limbs_.push_back(carry);
  return *this;
}

std::string BigCount::to_string() const {
  if (limbs_.empty()) return "0";
  std::string text = fmt::format("{}", limbs_.back());
  for (size_t i = limbs_.size() - 1; i-- > 0;) text += fmt::format("{:018}", limbs_[i]);
  return text;
}

double BigCount::log() const {
  if (limbs_.empty()) return -std::numeric_limits<double>::infinity();
  double leading = 0;  // the number over kBase^(limbs - 1)
  for (const uint64_t limb : limbs_)
    leading = leading / static_cast<double>(kBase) + static_cast<double>(limb);
  return std::log(leading) + static_cast<double>(limbs_.size() - 1) * std::log(static_cast<double>(kBase));
}

std::vector<BigCount> binomials(int64_t n) {
  std::vector<BigCount> row = {1};
  for (int64_t i = 0; i < n; ++i) {
    row.emplace_back();
    for (size_t k = row.size() - 1; k > 0; --k) row[k] += row[k - 1];
  }
  return row;
}

}  // namespace residuum
