// The CPU's loops over rows x channels at every instruction set of this machine and both element types
// against loops in double, and the choice of the instruction set.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "tests/cpu/cpu_simd_case.h"

namespace residuum::cpu {
namespace {

TEST_P(CpuSimd, Affine) {
  for (const Size& size : sizes()) {
    const Floats scale = normal_floats(static_cast<size_t>(size.c), 1),
                 shift = normal_floats(static_cast<size_t>(size.c), 2);
    const Buffer src(loops().type, normal_floats(size.n(), 3)),
        more(loops().type, normal_floats(size.n(), 4));
    const Floats x = src.floats(), r = more.floats();
    for (const bool residual : {false, true}) {
      for (const bool relu : {false, true}) {
        Buffer dst(loops().type, size.n());
        loops().simd.affine(src.data(), residual ? more.data() : nullptr, size.rows, size.c, scale.data(),
                            shift.data(), relu, dst.data());
        Doubles expected, magnitudes;
        for (size_t i = 0; i < size.n(); ++i) {
          const size_t c = i % static_cast<size_t>(size.c);
          const double product = double{x[i]} * double{scale[c]}, extra = residual ? double{r[i]} : 0;
          const double y = product + double{shift[c]} + extra;
          expected.push_back(relu && y < 0 ? 0 : y);
          magnitudes.push_back(std::abs(product) + std::abs(double{shift[c]}) + std::abs(extra));
        }
        expect_near(to_doubles(dst.floats()), expected, magnitudes, loops().tolerance(kFewRoundings),
                    size.text());
        EXPECT_TRUE(dst.guard_intact()) << size.text();
      }
    }
  }
}

TEST_P(CpuSimd, Affine2) {
  for (const Size& size : sizes()) {
    const size_t channels = static_cast<size_t>(size.c);
    const Floats a = normal_floats(channels, 1), b = normal_floats(channels, 2),
                 d = normal_floats(channels, 3);
    const Buffer in_x(loops().type, normal_floats(size.n(), 4)),
        in_y(loops().type, normal_floats(size.n(), 5));
    const Floats x = in_x.floats(), y = in_y.floats();
    Buffer dst(loops().type, size.n());
    loops().simd.affine2(in_x.data(), in_y.data(), size.rows, size.c, a.data(), b.data(), d.data(),
                         dst.data());
    Doubles expected, magnitudes;
    for (size_t i = 0; i < size.n(); ++i) {
      const size_t c = i % channels;
      const double ax = double{a[c]} * double{x[i]}, by = double{b[c]} * double{y[i]};
      expected.push_back(ax + by + double{d[c]});
      magnitudes.push_back(std::abs(ax) + std::abs(by) + std::abs(double{d[c]}));
    }
    expect_near(to_doubles(dst.floats()), expected, magnitudes, loops().tolerance(kFewRoundings),
                size.text());
    EXPECT_TRUE(dst.guard_intact()) << size.text();
  }
}

TEST_P(CpuSimd, Normalize) {
  for (const Size& size : sizes()) {
    const size_t channels = static_cast<size_t>(size.c);
    const Floats scale = normal_floats(channels, 1), shift = normal_floats(channels, 2);
    std::vector<uint8_t> src(size.n());
    for (size_t i = 0; i < src.size(); ++i) src[i] = static_cast<uint8_t>(i * 37 + 11);
    Buffer dst(loops().type, size.n());
    loops().simd.normalize(src.data(), size.rows, size.c, scale.data(), shift.data(), dst.data());
    Doubles expected, magnitudes;
    for (size_t i = 0; i < size.n(); ++i) {
      const double product = double{scale[i % channels]} * src[i];
      expected.push_back(product + double{shift[i % channels]});
      magnitudes.push_back(std::abs(product) + std::abs(double{shift[i % channels]}));
    }
    expect_near(to_doubles(dst.floats()), expected, magnitudes, loops().tolerance(kFewRoundings),
                size.text());
    EXPECT_TRUE(dst.guard_intact()) << size.text();
  }
}

TEST_P(CpuSimd, Moments) {
  for (const Size& size : sizes()) {
    const size_t channels = static_cast<size_t>(size.c);
    const Buffer src(loops().type, normal_floats(size.n(), 1, 0.5f, 2));
    const Floats x = src.floats();
    Doubles mean(channels), m2(channels), expected_mean(channels), expected_m2(channels),
        around_first(channels), spread(channels);
    loops().simd.moments(src.data(), size.rows, size.c, mean.data(), m2.data());
    for (size_t i = 0; i < size.n(); ++i)
      expected_mean[i % channels] += double{x[i]} / static_cast<double>(size.rows);
    for (size_t i = 0; i < size.n(); ++i) {
      const size_t c = i % channels;
      expected_m2[c] += std::pow(double{x[i]} - expected_mean[c], 2);
      around_first[c] +=
          std::pow(double{x[i]} - double{x[c]}, 2);  // what the loop adds up: it shifts by the first
      spread[c] += std::abs(double{x[i]} - double{x[c]}) / static_cast<double>(size.rows);
    }
    expect_near(mean, expected_mean, spread, kFloatRun, size.text() + " mean");
    expect_near(m2, expected_m2, around_first, 2 * kFloatRun, size.text() + " m2");
  }
}

TEST_P(CpuSimd, MomentsOfALargeMeanKeepFourDigits) {
  const Size size{1000, 17};
  const Buffer src(loops().type,
                   normal_floats(size.n(), 1, 1000, loops().type == DType::kF32 ? 1.0f : 30.0f));
  const Floats x = src.floats();
  Doubles mean(17), m2(17);
  loops().simd.moments(src.data(), size.rows, size.c, mean.data(), m2.data());
  for (size_t c = 0; c < 17; ++c) {
    double sum = 0, squares = 0;
    for (size_t i = c; i < size.n(); i += 17) sum += double{x[i]};
    for (size_t i = c; i < size.n(); i += 17) squares += std::pow(double{x[i]} - sum / 1000, 2);
    EXPECT_NEAR(m2[c] / squares, 1, 1e-4) << "channel " << c;
    EXPECT_NEAR(mean[c], sum / 1000, 1e-3) << "channel " << c;
  }
}

TEST_P(CpuSimd, MomentsOfConstantsAndOfNothing) {
  const Buffer src(loops().type, Floats(96, 3.25f));
  Doubles mean(3, -1), m2(3, -1);
  loops().simd.moments(src.data(), 32, 3, mean.data(), m2.data());
  EXPECT_EQ(mean, Doubles(3, 3.25));
  EXPECT_EQ(m2, Doubles(3, 0));
  loops().simd.moments(src.data(), 0, 3, mean.data(), m2.data());
  EXPECT_EQ(mean, Doubles(3, 0));
  EXPECT_EQ(m2, Doubles(3, 0));
}

TEST_P(CpuSimd, ChannelAndBackwardSums) {
  for (const Size& size : sizes()) {
    const size_t channels = static_cast<size_t>(size.c);
    const Floats mean = normal_floats(channels, 1);
    const Buffer in_dy(loops().type, normal_floats(size.n(), 2)),
        in_x(loops().type, normal_floats(size.n(), 3));
    const Floats dy = in_dy.floats(), x = in_x.floats();
    Doubles sum(channels), sum_dy(channels), sum_dy_x(channels), expected(channels), expected_x(channels),
        size_dy(channels), size_dy_x(channels);
    loops().simd.channel_sums(in_dy.data(), size.rows, size.c, sum.data());
    loops().simd.backward_sums(in_dy.data(), in_x.data(), size.rows, size.c, mean.data(), sum_dy.data(),
                               sum_dy_x.data());
    for (size_t i = 0; i < size.n(); ++i) {
      const size_t c = i % channels;
      const double product = double{dy[i]} * (double{x[i]} - double{mean[c]});
      expected[c] += double{dy[i]};
      expected_x[c] += product;
      size_dy[c] += std::abs(double{dy[i]});
      size_dy_x[c] += std::abs(double{dy[i]}) * (std::abs(double{x[i]}) + std::abs(double{mean[c]}));
    }
    expect_near(sum, expected, size_dy, kFloatRun, size.text() + " channel_sums");
    expect_near(sum_dy, expected, size_dy, kFloatRun, size.text() + " sum_dy");
    expect_near(sum_dy_x, expected_x, size_dy_x, 2 * kFloatRun, size.text() + " sum_dy_x");
  }
}

TEST_P(CpuSimd, ReluBackwardSumsAreThoseOfItsOutput) {
  for (const Size& size : sizes()) {
    const size_t channels = static_cast<size_t>(size.c);
    const Floats mean = normal_floats(channels, 1);
    const Buffer in_a(loops().type, normal_floats(size.n(), 2)),
        in_b(loops().type, normal_floats(size.n(), 3)), in_z(loops().type, normal_floats(size.n(), 4)),
        in_x(loops().type, normal_floats(size.n(), 5));
    const Floats a = in_a.floats(), b = in_b.floats(), z = in_z.floats();
    for (const bool two : {false, true}) {
      Buffer g(loops().type, size.n());
      Doubles sums[2] = {Doubles(channels), Doubles(channels)},
              again[2] = {Doubles(channels), Doubles(channels)};
      loops().simd.relu_backward_sums(in_a.data(), two ? in_b.data() : nullptr, in_z.data(), in_x.data(),
                                      size.rows, size.c, mean.data(), g.data(), sums[0].data(),
                                      sums[1].data());
      Doubles expected, magnitudes;
      for (size_t i = 0; i < size.n(); ++i) {
        const double second = two ? double{b[i]} : 0;
        expected.push_back(z[i] > 0 ? double{a[i]} + second : 0);
        magnitudes.push_back(std::abs(double{a[i]}) + std::abs(second));
      }
      expect_near(to_doubles(g.floats()), expected, magnitudes, loops().tolerance(kFewRoundings),
                  size.text());
      EXPECT_TRUE(g.guard_intact()) << size.text();
      loops().simd.backward_sums(g.data(), in_x.data(), size.rows, size.c, mean.data(), again[0].data(),
                                 again[1].data());
      EXPECT_EQ(sums[0], again[0]) << size.text();
      EXPECT_EQ(sums[1], again[1]) << size.text();
    }
  }
}

/// Bits must not depend on where the memory lies, nor on an earlier call.
TEST_P(CpuSimd, SameBitsAtAnyAddress) {
  const Size size{333, 24};
  const size_t element = size_of(loops().type);
  const Buffer src(loops().type, normal_floats(size.n(), 1));
  const Floats scale = normal_floats(24, 2), shift = normal_floats(24, 3);
  Buffer first_dst(loops().type, size.n());
  Doubles first_mean(24), first_m2(24);
  loops().simd.affine(src.data(), nullptr, size.rows, size.c, scale.data(), shift.data(), true,
                      first_dst.data());
  loops().simd.moments(src.data(), size.rows, size.c, first_mean.data(), first_m2.data());
  for (size_t moved : {size_t{1}, size_t{5}, size_t{16}}) {
    std::vector<std::byte> copy((size.n() + moved) * element);
    std::memcpy(copy.data() + moved * element, src.data(), size.n() * element);
    const std::byte* const at = copy.data() + moved * element;
    Buffer dst(loops().type, size.n());
    Doubles mean(24), m2(24);
    loops().simd.affine(at, nullptr, size.rows, size.c, scale.data(), shift.data(), true, dst.data());
    loops().simd.moments(at, size.rows, size.c, mean.data(), m2.data());
    EXPECT_TRUE(dst == first_dst);
    EXPECT_EQ(mean, first_mean);
    EXPECT_EQ(m2, first_m2);
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, CpuSimd, every_level(), level_name);

TEST(CpuSimdLevel, TheBestLevelIsPicked) {
  for (const char* level : {"avx512_bf16", "avx512", "avx2", "baseline"}) {
    const Simd* table = simd_of_level(DType::kF32, level);
    if (table == nullptr) continue;
    EXPECT_STREQ(simd_level(), level);
    EXPECT_EQ(&simd(DType::kF32), table);
    break;
  }
  EXPECT_EQ(simd_of_level(DType::kF32, "avx1024"), nullptr);
  EXPECT_THROW(simd(DType::kI32), std::runtime_error);
}

}  // namespace
}  // namespace residuum::cpu
