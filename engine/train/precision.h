// In what arithmetic a net is trained: the type of activations, the products of f32 values, the loss scale.
// Invariant: parameters, statistics and the optimizer are f32 in every precision.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "engine/core/tensor.h"

namespace residuum {

enum class Precision : uint8_t {
  kF32,   ///< activations f32
  kTF32,  ///< activations f32, products on CUDA in TF32 (BackendOptions::tf32); on the CPU the same as kF32
  kBF16,  ///< activations bf16
  kF16,   ///< activations f16, on CUDA alone
};

/// In the order of the values.
inline constexpr std::array<std::string_view, 4> kPrecisionNames = {"fp32", "tf32", "bf16", "fp16"};

/// "fp32", "tf32", "bf16", "fp16".
std::string_view to_string(Precision precision);
/// The inverse; throws Error(kUsage) for any other name.
Precision precision_named(std::string_view name);

/// The type of activations and of their gradients.
DType activation_type(Precision precision);

/// The factor of the loss in the backward pass: `asked`, or when that is 0 the precision's own, which keeps
/// small gradients in f16's range (Micikevicius et al. 2018, 1710.03740): 1024 for fp16, else 1.
double loss_scale(Precision precision, double asked);

}  // namespace residuum
