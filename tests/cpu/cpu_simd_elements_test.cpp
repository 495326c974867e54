// The CPU's loops over elements, pooling windows and parameters at every instruction set of this machine and
// both element types against loops in double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "engine/core/random.h"
#include "tests/cpu/cpu_simd_case.h"

namespace residuum::cpu {
namespace {

/// Elements of one case: full vectors, unrolled blocks and every remainder.
constexpr size_t kElements = 64 * 5 + 37;

using Unary = std::function<void(const Simd&, const void*, int64_t, void*)>;
using Binary = std::function<void(const Simd&, const void*, const void*, int64_t, void*)>;

void expect_unary(const Loops& loops, const char* what, double arithmetic, const Unary& loop,
                  const std::function<double(double)>& expected) {
  for (size_t n : {size_t{1}, size_t{5}, size_t{16}, size_t{31}, kElements}) {
    const Buffer src(loops.type, normal_floats(n, 7, 0, 3));
    Buffer dst(loops.type, n);
    loop(loops.simd, src.data(), static_cast<int64_t>(n), dst.data());
    Doubles values, magnitudes;
    for (float x : src.floats()) {
      values.push_back(expected(double{x}));
      magnitudes.push_back(std::abs(values.back()));
    }
    expect_near(to_doubles(dst.floats()), values, magnitudes, loops.tolerance(arithmetic), what);
    EXPECT_TRUE(dst.guard_intact()) << what;
  }
}

void expect_binary(const Loops& loops, const char* what, const Binary& loop,
                   const std::function<double(double, double)>& expected) {
  for (size_t n : {size_t{1}, size_t{5}, size_t{16}, size_t{31}, kElements}) {
    const Buffer in_a(loops.type, normal_floats(n, 8)), in_b(loops.type, normal_floats(n, 9));
    const Floats a = in_a.floats(), b = in_b.floats();
    Buffer dst(loops.type, n);
    loop(loops.simd, in_a.data(), in_b.data(), static_cast<int64_t>(n), dst.data());
    Doubles values, magnitudes;
    for (size_t i = 0; i < n; ++i) {
      values.push_back(expected(double{a[i]}, double{b[i]}));
      magnitudes.push_back((1 + std::abs(double{a[i]})) *
                           (1 + std::pow(double{b[i]}, 2)));  // bounds every term
    }
    expect_near(to_doubles(dst.floats()), values, magnitudes, loops.tolerance(kFewRoundings), what);
    EXPECT_TRUE(dst.guard_intact()) << what;
  }
}

TEST_P(CpuSimd, Activations) {
  using std::exp, std::tanh;
  expect_unary(
      loops(), "relu", 0, [](auto& s, auto x, auto n, auto y) { s.relu(x, n, y); },
      [](double x) { return x > 0 ? x : 0; });
  expect_unary(
      loops(), "sigmoid", kPolynomial, [](auto& s, auto x, auto n, auto y) { s.sigmoid(x, n, y); },
      [](double x) { return 1 / (1 + exp(-x)); });
  expect_unary(
      loops(), "tanh", kPolynomial, [](auto& s, auto x, auto n, auto y) { s.tanh(x, n, y); },
      [](double x) { return tanh(x); });
  expect_unary(
      loops(), "scale", kFewRoundings, [](auto& s, auto x, auto n, auto y) { s.scale(x, n, 2.5f, 0, y); },
      [](double x) { return 2.5 * x; });
  expect_unary(
      loops(), "scale to a constant", 0, [](auto& s, auto x, auto n, auto y) { s.scale(x, n, 0, 1.5f, y); },
      [](double) { return 1.5; });
}

TEST_P(CpuSimd, TwoOperands) {
  expect_binary(
      loops(), "add", [](auto& s, auto a, auto b, auto n, auto y) { s.add(a, b, n, y); },
      [](double a, double b) { return a + b; });
  expect_binary(
      loops(), "multiply", [](auto& s, auto a, auto b, auto n, auto y) { s.multiply(a, b, n, y); },
      [](double a, double b) { return a * b; });
  expect_binary(
      loops(), "relu_backward", [](auto& s, auto d, auto y, auto n, auto x) { s.relu_backward(d, y, n, x); },
      [](double d, double y) { return y > 0 ? d : 0; });
  expect_binary(
      loops(), "sigmoid_backward",
      [](auto& s, auto d, auto y, auto n, auto x) { s.sigmoid_backward(d, y, n, x); },
      [](double d, double y) { return d * y * (1 - y); });
  expect_binary(
      loops(), "tanh_backward", [](auto& s, auto d, auto y, auto n, auto x) { s.tanh_backward(d, y, n, x); },
      [](double d, double y) { return d * (1 - y * y); });
}

TEST_P(CpuSimd, ActivationsAtTheEnds) {
  const Buffer src(loops().type, {kNaN, kInfinity, -kInfinity, 100, -100, -0.0f, 1e-30f});
  const auto apply = [&](auto loop) {
    Buffer dst(loops().type, 7);
    loop(src.data(), 7, dst.data());
    return dst.floats();
  };
  const Floats relu = apply(loops().simd.relu), sigmoid = apply(loops().simd.sigmoid),
               tanh = apply(loops().simd.tanh);
  for (const Floats* values : {&relu, &sigmoid, &tanh}) EXPECT_TRUE(std::isnan((*values)[0]));
  EXPECT_EQ(relu[1], kInfinity);
  EXPECT_EQ(relu[2], 0);
  EXPECT_EQ(sigmoid[1], 1);
  EXPECT_NEAR(sigmoid[2], 0, 1e-37);
  EXPECT_EQ(sigmoid[3], 1);
  EXPECT_NEAR(sigmoid[4], 0, 1e-37);
  EXPECT_EQ(tanh[1], 1);
  EXPECT_EQ(tanh[2], -1);
  EXPECT_EQ(tanh[4], -1);
  EXPECT_NEAR(tanh[6] / src.floats()[6], 1, kHalfUlpBF16);  // no cancellation near zero
}

TEST_P(CpuSimd, ConversionRoundsToNearestEven) {
  Floats values = {kNaN,         kInfinity,     -kInfinity,    0.0f,       -0.0f,
                   1.0f,         1.00390625f,   1.01171875f,   1.0039064f, 1.0039061f,
                   -1.00390625f, 3.3895314e38f, 3.4028235e38f, 65280.5f};
  const Floats random = normal_floats(1000, 3, 0, 1e6f);
  values.insert(values.end(), random.begin(), random.end());
  Buffer dst(loops().type, values.size());
  loops().simd.from_float(values.data(), static_cast<int64_t>(values.size()), dst.data());
  Floats back(values.size());
  loops().simd.to_float(dst.data(), static_cast<int64_t>(values.size()), back.data());
  EXPECT_TRUE(std::isnan(back[0]));
  for (size_t i = 1; i < values.size(); ++i) {
    EXPECT_EQ(back[i], loops().type == DType::kBF16 ? rounded_to_bf16(values[i]) : values[i]) << values[i];
  }
  EXPECT_TRUE(dst.guard_intact());
}

/// A NaN whose payload sits in the low bits alone must not become an infinity when they are cut off.
TEST_P(CpuSimd, ConversionKeepsNaNWithASmallPayload) {
  const uint32_t bits = 0x7f800001;
  Floats values(3);
  for (float& value : values) std::memcpy(&value, &bits, sizeof bits);
  Buffer dst(loops().type, values.size());
  loops().simd.from_float(values.data(), 3, dst.data());
  for (float value : dst.floats()) EXPECT_TRUE(std::isnan(value));
}

TEST_P(CpuSimd, DropoutFollowsPhilox) {
  constexpr float kProbability = 0.3f;
  const DropoutStream stream{0x123456789abcdef0u, 7, 2, 5};
  const size_t n = 1000;
  const Buffer src(loops().type, normal_floats(n, 1));
  const Floats x = src.floats();
  for (const int64_t first : {int64_t{0}, int64_t{3}, int64_t{64}, int64_t{4} << 32}) {
    Buffer dst(loops().type, n);
    loops().simd.dropout(src.data(), first, n, kProbability, stream, dst.data());
    const Floats y = dst.floats();
    size_t kept = 0;
    for (size_t i = 0; i < n; ++i) {
      const uint64_t element = static_cast<uint64_t>(first) + i, group = element / 4;
      const auto words =
          philox({static_cast<uint32_t>(group), stream.micro_step ^ static_cast<uint32_t>(group >> 32 << 16),
                  7, 5 << 8 | static_cast<uint32_t>(RandomPurpose::kDropout)},
                 {0x9abcdef0u, 0x12345678u});
      const bool keep = static_cast<float>(words[element % 4] >> 8) * 0x1p-24f >= kProbability;
      kept += keep;
      const double expected = keep ? double{x[i]} / (1 - double{kProbability}) : 0;
      ASSERT_NEAR(double{y[i]}, expected, loops().tolerance(kFewRoundings) * std::abs(expected))
          << first << "+" << i;
    }
    EXPECT_NEAR(static_cast<double>(kept), 700, 75);  // five standard deviations
    EXPECT_TRUE(dst.guard_intact());
  }
}

TEST_P(CpuSimd, WindowMaxTakesTheFirstMaximumAndNaN) {
  for (const int64_t c : {1, 3, 16, 17, 64}) {
    const size_t channels = static_cast<size_t>(c);
    Floats values = normal_floats(9 * channels, 1);
    for (float& value : values) value = std::round(value);  // ties
    values[4 * channels] = kNaN;
    const Buffer src(loops().type, values);
    const int64_t offsets[] = {0, c, 2 * c, 3 * c};
    const uint8_t positions[] = {0, 1, 16, 17};
    Buffer dst(loops().type, 3 * channels);
    std::vector<uint8_t> argmax(3 * channels + 1, 99);
    loops().simd.window_max(src.data(), {offsets, positions, 4}, 3, 2 * c, c, dst.data(), argmax.data());
    const Floats y = dst.floats();
    for (size_t p = 0; p < 3; ++p) {
      for (size_t j = 0; j < channels; ++j) {
        size_t best = 0;
        for (size_t t = 1; t < 4; ++t) {
          const float x = values[(2 * p + t) * channels + j];
          if (x > values[(2 * p + best) * channels + j] || std::isnan(x)) best = t;
        }
        const float expected = values[(2 * p + best) * channels + j];
        EXPECT_EQ(argmax[p * channels + j], positions[best]);
        if (std::isnan(expected)) {
          EXPECT_TRUE(std::isnan(y[p * channels + j]));
        } else {
          EXPECT_EQ(y[p * channels + j], expected);
        }
      }
    }
    EXPECT_EQ(argmax.back(), 99);
    EXPECT_TRUE(dst.guard_intact());
  }
}

TEST_P(CpuSimd, WindowSumAndMaxBackward) {
  for (const int64_t c : {1, 3, 16, 17, 64}) {
    const size_t channels = static_cast<size_t>(c);
    const Buffer src(loops().type, normal_floats(6 * channels, 1));
    const Floats x = src.floats();
    std::vector<uint8_t> argmax(6 * channels);
    for (size_t i = 0; i < argmax.size(); ++i) argmax[i] = static_cast<uint8_t>(i % 3 * 100);
    const int64_t offsets[] = {0, 2 * c, 3 * c};
    const uint8_t positions[] = {200, 100, 0};
    Buffer sums(loops().type, 3 * channels), gradient(loops().type, channels);
    loops().simd.window_sum(src.data(), {offsets, positions, 3}, 3, c, c, 0.25f, sums.data());
    loops().simd.window_max_backward(src.data(), argmax.data(), {offsets, positions, 3}, c, gradient.data());
    Doubles expected, magnitudes, expected_gradient, gradient_magnitudes;
    for (size_t i = 0; i < 3 * channels; ++i) {
      const double a = double{x[i]}, b = double{x[i + 2 * channels]}, d = double{x[i + 3 * channels]};
      expected.push_back((a + b + d) / 4);
      magnitudes.push_back(std::abs(a) + std::abs(b) + std::abs(d));
    }
    for (size_t j = 0; j < channels; ++j) {
      double sum = 0;
      for (size_t t = 0; t < 3; ++t) {
        const size_t at = static_cast<size_t>(offsets[t]) + j;
        if (argmax[at] == positions[t]) sum += double{x[at]};
      }
      expected_gradient.push_back(sum);
      gradient_magnitudes.push_back(magnitudes[j]);
    }
    expect_near(to_doubles(sums.floats()), expected, magnitudes, loops().tolerance(kFewRoundings),
                "window_sum");
    expect_near(to_doubles(gradient.floats()), expected_gradient, gradient_magnitudes,
                loops().tolerance(kFewRoundings), "window_max_backward");
    EXPECT_TRUE(sums.guard_intact() && gradient.guard_intact());
    Buffer empty(loops().type, channels);
    loops().simd.window_sum(src.data(), {offsets, positions, 0}, 1, c, c, 1, empty.data());
    EXPECT_EQ(empty.floats(), Floats(channels, 0));
  }
}

TEST_P(CpuSimd, ParameterUpdates) {
  for (const bool nesterov : {false, true}) {
    Floats w = normal_floats(kElements, 1), m = normal_floats(kElements, 2);
    const Floats g = normal_floats(kElements, 3), old_w = w, old_m = m;
    loops().simd.sgd(w.data(), m.data(), g.data(), kElements, {0.5f, 0.01f, 0.9f, 0.1f, nesterov});
    for (size_t i = 0; i < kElements; ++i) {
      const double d = 0.5 * double{g[i]} + double{0.01f} * double{old_w[i]};
      const double momentum = double{0.9f} * double{old_m[i]} + d;
      const double step = nesterov ? d + double{0.9f} * momentum : momentum;
      EXPECT_NEAR(double{m[i]}, momentum, kFewRoundings * (1 + std::abs(double{old_m[i]}) + std::abs(d)));
      EXPECT_NEAR(double{w[i]}, double{old_w[i]} - double{0.1f} * step,
                  kFewRoundings * (1 + std::abs(double{old_w[i]}) + std::abs(step)));
    }
    loops().simd.blend(w.data(), 0.9f, g.data(), 0.2f, kElements, m.data());
    for (size_t i = 0; i < kElements; ++i) {
      EXPECT_NEAR(double{m[i]}, double{0.9f} * double{w[i]} + double{0.2f} * double{g[i]}, kFewRoundings * 8);
    }
  }
}

TEST_P(CpuSimd, SumSquaresIsExactInDoubleAndSeesInfinities) {
  for (size_t n : {size_t{0}, size_t{1}, size_t{15}, size_t{16}, kElements}) {
    Floats x = normal_floats(n, 1, 0, 1e20f);
    double expected = 0;
    for (float value : x) expected += double{value} * double{value};
    const double found = loops().simd.sum_squares(x.data(), static_cast<int64_t>(n));
    EXPECT_NEAR(found, expected, expected * 1e-13);  // 500 additions of 2^-53
    EXPECT_TRUE(std::isfinite(found));
    for (const float bad : {kInfinity, -kInfinity, kNaN}) {
      if (n == 0) continue;
      x[n / 2] = bad;
      EXPECT_FALSE(std::isfinite(loops().simd.sum_squares(x.data(), static_cast<int64_t>(n))));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, CpuSimd, every_level(), level_name);

}  // namespace
}  // namespace residuum::cpu
