// Comparison of found with expected tensors. Every tolerance is a named metric with a reason; a failure
// prints the first element that is off, its index, and the worst one.
#pragma once

#include <gtest/gtest.h>

#include <string_view>

#include "tests/reference/reference.h"

namespace residuum {

/// |found - expected| <= relative * |expected| + absolute * max(RMS of expected, scale of the case).
struct Tolerance {
  std::string_view name, reason;
  double relative = 0, absolute = 0;
};

inline constexpr Tolerance kExact{"exact", "values are moved, compared or counted, never rounded", 0, 0};
inline constexpr Tolerance kRoundedF32{
    "rounded-f32", "a handful of f32 operations an element, each off by at most 2^-24", 0x1p-21, 0x1p-22};
inline constexpr Tolerance kRoundedBF16{
    "rounded-bf16",
    "one rounding to 8 significant bits (2^-9) which an f32 error before it may push to the neighbour",
    0x1p-8, 0x1p-20};
inline constexpr Tolerance kRoundedF16{
    "rounded-f16",
    "one rounding to 11 significant bits (2^-11) which an f32 error before it may push to the neighbour; "
    "below 2^-14 to multiples of 2^-24",
    0x1p-11, 0x1p-19};
inline constexpr Tolerance kFunctionF32{
    "function-f32", "an exponential by polynomial: a few units in the last place of values in [0, 1]",
    0x1p-19, 0x1p-20};
/// A sum of `terms` products in f32: errors of 2^-24 a step, walking randomly, with a margin of eight.
Tolerance summed_f32(int64_t terms);
/// The same sum, rounded to bf16 or f16 at the end.
Tolerance summed_bf16(int64_t terms);
Tolerance summed_f16(int64_t terms);
/// A sum of products of f32 factors, each factor split in two TF32 parts (kernels::F32Math::kTf32x3).
Tolerance summed_tf32x3(int64_t terms);
/// A sum of products of f32 factors, each rounded to TF32 (kernels::F32Math::kTf32).
Tolerance summed_tf32(int64_t terms);
/// Central differences in double with step 1e-5: h^2 of truncation and 2^-52 / h of cancellation, both near
/// 1e-10.
inline constexpr Tolerance kFiniteDifference{
    "finite-difference", "step 1e-5 in double: truncation and cancellation near 1e-10 of a value", 1e-6,
    1e-6};

/// Success, or a message with the number of mismatches, the first one with its index, and the worst one. A
/// NaN matches nothing but a NaN. `scale` is the size of the terms where the expected value is their small
/// difference.
::testing::AssertionResult matches(const reference::Tensor& found, const reference::Tensor& expected,
                                   const Tolerance& tolerance, double scale = 0);

/// |found - expected| / |expected| in the L2 norm; infinite where found is not finite.
double deviation(const reference::Tensor& found, const reference::Tensor& expected);

/// "[0, 3, 3, 7]": the position of element `i` in a tensor.
std::string index_text(const Shape& shape, int64_t i);

}  // namespace residuum
