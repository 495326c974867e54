// The 16-bit floating point types on the host, as bits: bf16 (the upper half of an f32) and f16 (IEEE 754
// binary16). Invariant: narrowing rounds to nearest even as every backend does, widening is exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/core/tensor.h"

namespace residuum {

/// Exact, subnormals and NaN payloads included.
float from_bf16(uint16_t bits);
float from_f16(uint16_t bits);

/// Rounded to nearest even; what is too large becomes infinite, a NaN stays one.
uint16_t to_bf16(float value);
uint16_t to_f16(float value);

/// `values` stored as `type`: kF32, kBF16 or kF16; throws Error(kInternal) for another.
std::vector<std::byte> encode_floats(std::span<const float> values, DType type);
/// The inverse: the values stored in `bytes`, exactly.
std::vector<float> decode_floats(std::span<const std::byte> bytes, DType type);

}  // namespace residuum
