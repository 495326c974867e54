// Every value of the 16-bit types, and every place where rounding to them changes its mind.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "engine/core/check.h"
#include "engine/core/half.h"

namespace residuum {
namespace {

struct HalfType {
  const char* name;
  float (*widen)(uint16_t);
  uint16_t (*narrow)(float);
  uint16_t infinity;
};
constexpr HalfType kTypes[] = {{"bf16", from_bf16, to_bf16, 0x7F80}, {"f16", from_f16, to_f16, 0x7C00}};
constexpr float kInfinite = std::numeric_limits<float>::infinity();

TEST(Half, EveryValueComesBack) {
  for (const HalfType& type : kTypes) {
    for (uint32_t i = 0; i <= 0xFFFF; ++i) {
      const auto bits = static_cast<uint16_t>(i);
      const float value = type.widen(bits);
      const bool nan = (bits & 0x7FFF) > type.infinity;
      ASSERT_EQ(std::isnan(value), nan) << type.name << " " << bits;
      if (nan) {
        ASSERT_GT(type.narrow(value) & 0x7FFF, type.infinity) << type.name << " " << bits;
      } else {
        ASSERT_EQ(type.narrow(value), bits) << type.name;
      }
    }
  }
}

TEST(Half, RoundsToNearestAndHalvesToEven) {
  for (const HalfType& type : kTypes) {
    for (uint16_t low = 0; low + 1 < type.infinity; ++low) {
      const auto high = static_cast<uint16_t>(low + 1);
      const auto middle = static_cast<float>((double{type.widen(low)} + double{type.widen(high)}) / 2);
      const uint16_t even = low % 2 == 0 ? low : high;
      for (const float sign : {1.0f, -1.0f}) {
        const uint16_t top = sign < 0 ? 0x8000 : 0;
        ASSERT_EQ(type.narrow(sign * middle), top | even) << type.name << " " << low;
        ASSERT_EQ(type.narrow(sign * std::nextafter(middle, 0.0f)), top | low) << type.name << " " << low;
        ASSERT_EQ(type.narrow(sign * std::nextafter(middle, kInfinite)), top | high) << type.name << low;
      }
    }
  }
}

TEST(Half, KnownValues) {
  EXPECT_EQ(to_f16(1.0f), 0x3C00);
  EXPECT_EQ(to_f16(-2.0f), 0xC000);
  EXPECT_EQ(to_f16(65504.0f), 0x7BFF);
  EXPECT_EQ(to_f16(std::nextafter(65520.0f, 0.0f)), 0x7BFF);
  EXPECT_EQ(to_f16(65520.0f), 0x7C00);
  EXPECT_EQ(to_f16(-kInfinite), 0xFC00);
  EXPECT_EQ(to_f16(0x1p-24f), 0x0001);
  EXPECT_EQ(to_f16(0x1p-25f), 0x0000);
  EXPECT_EQ(to_f16(-0.0f), 0x8000);
  EXPECT_EQ(to_bf16(1.0f), 0x3F80);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x7F800001u)), 0x7FC0) << "a NaN whose payload would round away";
}

TEST(Half, EncodesLists) {
  const std::vector<float> values = {1, -2};
  EXPECT_EQ(encode_floats(values, DType::kF32).size(), 8u);
  const std::vector<std::byte> halves = {std::byte{0}, std::byte{0x3C}, std::byte{0}, std::byte{0xC0}};
  EXPECT_EQ(encode_floats(values, DType::kF16), halves);
  EXPECT_THROW(encode_floats(values, DType::kU8), Error);
}

TEST(Half, DecodesLists) {
  const std::vector<float> values = {1, -2, 0.5f, 65504};
  for (const DType type : {DType::kF32, DType::kF16})
    EXPECT_EQ(decode_floats(encode_floats(values, type), type), values);
  const std::vector<std::byte> halves = {std::byte{0x80}, std::byte{0x3F}, std::byte{0x20}, std::byte{0xC0}};
  EXPECT_EQ(decode_floats(halves, DType::kBF16), (std::vector<float>{1, -2.5f}));
  EXPECT_THROW(decode_floats(halves, DType::kI32), Error);
}

}  // namespace
}  // namespace residuum
