// The numbers of a stored tensor in the types and layouts the engine computes with.
// Convolution weights are O,I,H,W in files and K,R,S,C in the engine (K = O, C = I = input channels per
// group).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/checkpoint/safetensors.h"

namespace residuum {

/// True for a dtype that to_floats() converts: F64, F32, F16, BF16.
bool is_floating(std::string_view dtype);
/// True for a dtype that to_int64s() converts: I64, I32, I16, I8, U8.
bool is_integer(std::string_view dtype);

/// The values of an F64 (rounded to nearest), F32, F16 or BF16 tensor; throws Error(kCheckpoint) for another
/// dtype.
std::vector<float> to_floats(const StoredTensor& tensor);

/// The values of an I64, I32, I16, I8 or U8 tensor; throws Error(kCheckpoint) for another dtype.
std::vector<int64_t> to_int64s(const StoredTensor& tensor);

/// Weights of shape `oihw` rearranged to K,R,S,C = O,H,W,I; throws Error(kShape) when sizes do not fit.
std::vector<float> oihw_to_krsc(std::span<const float> weights, const std::array<int64_t, 4>& oihw);

/// Weights of shape `krsc` rearranged to O,I,H,W = K,C,R,S; throws Error(kShape) when sizes do not fit.
std::vector<float> krsc_to_oihw(std::span<const float> weights, const std::array<int64_t, 4>& krsc);

}  // namespace residuum
