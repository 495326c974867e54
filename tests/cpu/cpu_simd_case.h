// What the tests of the CPU's loops share: buffers with a guard, random inputs rounded to the element type
// (so that only the loop's own arithmetic is compared), tolerances, and the fixture that runs a case at one
// instruction set.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "engine/backend/cpu/simd.h"

namespace residuum::cpu {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// Half a unit in the last place of bfloat16's 8 significant bits.
inline constexpr double kHalfUlpBF16 = 0x1p-8;
/// A few roundings of float, each 2^-24, and their growth where terms cancel: relative to the sum of
/// magnitudes.
inline constexpr double kFewRoundings = 0x1p-21;
/// At most 64 additions in float, each off by 2^-24 of the running sum of magnitudes; the rest is summed in
/// double.
inline constexpr double kFloatRun = 64 * 0x1p-24;
/// A polynomial of float: four units in the last place.
inline constexpr double kPolynomial = 0x1p-21;

using Doubles = std::vector<double>;
using Floats = std::vector<float>;

/// A buffer in the element type of the loops under test, with a guard behind it that no loop may touch.
class Buffer {
 public:
  Buffer(DType type, size_t n) : type_(type), n_(n), bytes_(n * size_of(type) + kGuard, std::byte{0xA5}) {}
  Buffer(DType type, const Floats& values) : Buffer(type, values.size()) {
    simd_of_level(type, "baseline")->from_float(values.data(), static_cast<int64_t>(n_), data());
  }

  void* data() { return bytes_.data(); }
  const void* data() const { return bytes_.data(); }
  Floats floats() const {
    Floats values(n_);
    simd_of_level(type_, "baseline")->to_float(data(), static_cast<int64_t>(n_), values.data());
    return values;
  }
  bool guard_intact() const {
    for (size_t i = n_ * size_of(type_); i < bytes_.size(); ++i) {
      if (bytes_[i] != std::byte{0xA5}) return false;
    }
    return true;
  }
  bool operator==(const Buffer& other) const { return bytes_ == other.bytes_; }

 private:
  static constexpr size_t kGuard = 64;

  DType type_;
  size_t n_;
  std::vector<std::byte> bytes_;
};

inline Floats normal_floats(size_t n, unsigned seed, float mean = 0, float deviation = 1) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> distribution(mean, deviation);
  Floats values(n);
  for (float& value : values) value = distribution(engine);
  return values;
}

/// What bfloat16 keeps of a value, by the definition: the nearest of the two neighbours, ties to the even
/// one.
inline float rounded_to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t low = bits & 0xffff;
  bits -= low;
  if (low > 0x8000 || (low == 0x8000 && (bits & 0x10000) != 0)) bits += 0x10000;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

struct Loops {
  const char* level;
  DType type;
  const Simd& simd;

  /// Relative error of storing a result, plus that of computing it.
  double tolerance(double arithmetic) const { return (type == DType::kBF16 ? kHalfUlpBF16 : 0) + arithmetic; }
};

class CpuSimd : public testing::TestWithParam<std::tuple<const char*, DType>> {
 protected:
  void SetUp() override {
    const auto [level, type] = GetParam();
    simd_ = simd_of_level(type, level);
    if (simd_ == nullptr) GTEST_SKIP() << "this processor or build has no " << level;
  }
  Loops loops() const { return {std::get<0>(GetParam()), std::get<1>(GetParam()), *simd_}; }

 private:
  const Simd* simd_ = nullptr;
};

/// Fails unless |found - expected| <= relative * magnitude at every element; magnitudes are the sums of the
/// terms'.
inline void expect_near(const Doubles& found, const Doubles& expected, const Doubles& magnitudes,
                        double relative, const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_LE(std::abs(found[i] - expected[i]), relative * magnitudes[i] + std::numeric_limits<float>::min())
        << what << ": element " << i << " is " << found[i] << ", not " << expected[i];
  }
}

inline Doubles to_doubles(const Floats& values) {
  return {values.begin(), values.end()};
}

struct Size {
  int64_t rows, c;
  size_t n() const { return static_cast<size_t>(rows * c); }
  std::string text() const { return std::to_string(rows) + " rows x " + std::to_string(c); }
};

/// Every period and remainder of the walks; 1500 is wider than their buffers, odd widths force partial
/// vectors.
inline std::vector<Size> sizes() {
  std::vector<Size> result;
  for (int64_t rows : {1, 2, 7, 64, 1000}) {
    for (int64_t c : {1, 3, 7, 16, 17, 64, 100, 256}) result.push_back({rows, c});
  }
  for (int64_t c : {101, 1500, 2047, 2048}) result.push_back({70, c});
  return result;
}

/// Every level and element type, for INSTANTIATE_TEST_SUITE_P.
inline auto every_level() {
  return testing::Combine(testing::Values("baseline", "avx2", "avx512", "avx512_bf16"),
                          testing::Values(DType::kF32, DType::kBF16));
}
inline std::string level_name(const testing::TestParamInfo<CpuSimd::ParamType>& info) {
  return std::string(std::get<0>(info.param)) + "_" + std::string(to_string(std::get<1>(info.param)));
}

}  // namespace residuum::cpu
