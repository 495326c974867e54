#include "tests/support/compare.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace residuum {
namespace {

double root_mean_square(const reference::Tensor& tensor) {
  double sum = 0;
  for (const double value : tensor.data) sum += std::isnan(value) ? 0 : value * value;
  return tensor.data.empty() ? 0 : std::sqrt(sum / static_cast<double>(tensor.data.size()));
}

/// `step`: the relative error of one term.
double summed_error(int64_t terms, double step = 0x1p-24) {
  return 8 * step * std::sqrt(static_cast<double>(terms));
}

}  // namespace

Tolerance summed_f32(int64_t terms) {
  return {"summed-f32", "f32 rounding of every partial sum, growing like the square root of the terms",
          0x1p-22, summed_error(terms)};
}

Tolerance summed_bf16(int64_t terms) {
  return {"summed-bf16", "an f32 sum rounded once to 8 significant bits", 0x1p-8, summed_error(terms)};
}

Tolerance summed_f16(int64_t terms) {
  return {"summed-f16", "an f32 sum rounded once to 11 significant bits", 0x1p-11,
          summed_error(terms) + 0x1p-19};
}

Tolerance summed_tf32x3(int64_t terms) {
  return {"summed-tf32x3",
          "f32 sums of products that lack what is below both parts of a factor and the product of the low "
          "parts, 2^-22 each",
          0x1p-20, summed_error(terms, 0x1p-23)};
}

Tolerance summed_tf32(int64_t terms) {
  return {"summed-tf32",
          "f32 sums of products of factors rounded to 11 significant bits, 2^-11 of each factor", 0x1p-10,
          summed_error(1, 0x1p-11) + summed_error(terms)};
}

double deviation(const reference::Tensor& found, const reference::Tensor& expected) {
  double difference = 0, size = 0;
  for (int64_t i = 0; i < expected.elements(); ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  if (difference == 0) return 0;
  return std::isfinite(difference) ? std::sqrt(difference / size) : INFINITY;
}

std::string index_text(const Shape& shape, int64_t i) {
  std::string text;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    text = fmt::format("{}{}{}", i % shape[d], text.empty() ? "" : ", ", text);
    i /= shape[d];
  }
  return "[" + text + "]";
}

::testing::AssertionResult matches(const reference::Tensor& found, const reference::Tensor& expected,
                                   const Tolerance& tolerance, double scale) {
  if (found.shape != expected.shape)
    return ::testing::AssertionFailure()
           << "shape " << to_string(found.shape) << ", expected " << to_string(expected.shape);
  const double size = std::max(root_mean_square(expected), scale);
  int64_t mismatches = 0, first = -1, worst = -1;
  double worst_excess = 0;
  for (int64_t i = 0; i < expected.elements(); ++i) {
    const double error = std::abs(found[i] - expected[i]);
    const double allowed = tolerance.relative * std::abs(expected[i]) + tolerance.absolute * size;
    if (error <= allowed || (std::isnan(found[i]) && std::isnan(expected[i]))) continue;
    if (mismatches++ == 0) first = i;
    const double excess = std::isnan(error) ? INFINITY : error / std::max(allowed, 1e-300);
    if (worst < 0 || excess > worst_excess) {
      worst = i;
      worst_excess = excess;
    }
  }
  if (mismatches == 0) return ::testing::AssertionSuccess();
  const auto describe = [&](int64_t i) {
    return fmt::format("{} found {:.9g}, expected {:.9g}, allowed error {:.3g}",
                       index_text(expected.shape, i), found[i], expected[i],
                       tolerance.relative * std::abs(expected[i]) + tolerance.absolute * size);
  };
  return ::testing::AssertionFailure() << fmt::format(
             "{} of {} elements of {} off by metric '{}' ({})\n  first {}\n  worst {}, {:.3g} times too much",
             mismatches, expected.elements(), to_string(expected.shape), tolerance.name, tolerance.reason,
             describe(first), describe(worst), worst_excess);
}

}  // namespace residuum
