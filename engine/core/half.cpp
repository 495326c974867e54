#include "engine/core/half.h"

#include <bit>
#include <cstring>

#include "engine/core/check.h"

namespace residuum {
namespace {

constexpr uint32_t kInfinity = 0x7F800000, kMagnitude = 0x7FFFFFFF;

template <typename Convert>
std::vector<std::byte> encode_halves(std::span<const float> values, Convert convert) {
  std::vector<std::byte> bytes(values.size() * sizeof(uint16_t));
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = convert(values[i]);
    std::memcpy(bytes.data() + i * sizeof(half), &half, sizeof(half));
  }
  return bytes;
}

}  // namespace

float from_bf16(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

float from_f16(uint16_t bits) {
  const uint32_t sign = uint32_t{bits} >> 15 << 31, exponent = bits >> 10 & 0x1F, fraction = bits & 0x3FF;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t wide_exponent = exponent == 0x1F ? 0xFF : exponent + 112;
  return std::bit_cast<float>(sign | wide_exponent << 23 | fraction << 13);
}

uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & kMagnitude) > kInfinity) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

uint16_t to_f16(float value) {
  constexpr uint32_t kOverflow = 0x477FF000;  // 65520: half way from the largest f16 to the next power of 2
  constexpr uint32_t kSmallestNormal = 0x38800000;  // 2^-14
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & kMagnitude;
  uint32_t half = 0;
  if (magnitude > kInfinity) {
    half = 0x7E00 | (magnitude >> 13 & 0x3FF);
  } else if (magnitude >= kOverflow) {
    half = 0x7C00;
  } else if (magnitude < kSmallestNormal) {
    // An f32 in [0.5, 1) has the spacing of f16's subnormals, 2^-24: the addition rounds.
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
  } else {
    half = (magnitude - (uint32_t{112} << 23) + 0xFFF + (magnitude >> 13 & 1)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

std::vector<std::byte> encode_floats(std::span<const float> values, DType type) {
  switch (type) {
    case DType::kF32: {
      const auto bytes = std::as_bytes(values);
      return {bytes.begin(), bytes.end()};
    }
    case DType::kBF16:
      return encode_halves(values, to_bf16);
    case DType::kF16:
      return encode_halves(values, to_f16);
    default:
      fail(ErrorKind::kInternal, "floats cannot be stored as {}", to_string(type));
  }
}

std::vector<float> decode_floats(std::span<const std::byte> bytes, DType type) {
  check(type == DType::kF32 || type == DType::kBF16 || type == DType::kF16, ErrorKind::kInternal,
        "no floats are stored as {}", to_string(type));
  std::vector<float> values(bytes.size() / size_of(type));
  if (type == DType::kF32) {
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * sizeof(bits), sizeof(bits));
    values[i] = type == DType::kBF16 ? from_bf16(bits) : from_f16(bits);
  }
  return values;
}

}  // namespace residuum
