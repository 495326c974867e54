// Self-test of the emulator: tensor-core instructions against plain loops. Small integers make every sum
// exact, so the comparison is exact too.
#include <bit>

#include "tests/emulator/emulator_test_support.h"

namespace residuum::emulator {
namespace {

using kernels::launch;

/// c (16x8) = a (16x16, rows) b (8x16, columns of the factor as rows; or 16x8 as it stands, kTransposed).
template <typename T, bool kTransposed>
__global__ void mma_kernel(const T* a, const T* b, float* c) {
  SHARED(uint4, a_tile, [16][2]);
  SHARED(uint4, b_tile, [16]);
  const int lane = static_cast<int>(threadIdx.x);
  a_tile[lane / 2][lane % 2] = reinterpret_cast<const uint4*>(a)[lane];
  if (lane < 16) b_tile[lane] = reinterpret_cast<const uint4*>(b)[lane];
  __syncwarp();
  uint32_t a_regs[4], b_regs[4];
  kernels::ldmatrix_x4(a_regs, kernels::shared_address(&a_tile[lane % 16][lane / 16]));
  if constexpr (kTransposed) {
    kernels::ldmatrix_x4_transposed(b_regs, kernels::shared_address(&b_tile[lane % 16]));
  } else {
    kernels::ldmatrix_x4(b_regs, kernels::shared_address(&b_tile[lane % 8 * 2 + lane / 8 % 2]));
  }
  float sums[4] = {1, 1, 1, 1};
  if constexpr (std::is_same_v<T, __half>) {
    kernels::mma_f16(sums, a_regs, b_regs[0], b_regs[1]);
  } else {
    kernels::mma_bf16(sums, a_regs, b_regs[0], b_regs[1]);
  }
  for (int i = 0; i < 4; ++i) c[(lane / 4 + 8 * (i >> 1)) * 8 + 2 * (lane % 4) + (i & 1)] = sums[i];
}

float small_integer(size_t i) {
  return static_cast<float>(static_cast<int>(i * 37 % 17) - 8);
}

template <typename T, bool kTransposed>
void check_mma() {
  alignas(16) T a[16 * 16], b[16 * 8];
  for (size_t i = 0; i < 256; ++i) a[i] = T(small_integer(i));
  for (size_t i = 0; i < 128; ++i) b[i] = T(small_integer(i + 5));
  const auto results = in_all_ways([&] {
    std::vector<float> c(128);
    launch("mma", mma_kernel<T, kTransposed>, 1, 32, 0, nullptr, a, b, c.data());
    return c;
  });
  EXPECT_TRUE(all_equal(results));
  for (size_t m = 0; m < 16; ++m) {
    for (size_t n = 0; n < 8; ++n) {
      float expected = 1;
      for (size_t k = 0; k < 16; ++k) {
        expected += small_integer(m * 16 + k) * small_integer((kTransposed ? k * 8 + n : n * 16 + k) + 5);
      }
      EXPECT_EQ(results[0][m * 8 + n], expected) << "row " << m << ", column " << n;
    }
  }
}

TEST_F(EmulatorTest, MmaBf16) {
  check_mma<__nv_bfloat16, false>();
}
TEST_F(EmulatorTest, MmaF16) {
  check_mma<__half, false>();
}
TEST_F(EmulatorTest, LdmatrixTransposed) {
  check_mma<__nv_bfloat16, true>();
}

__global__ void load_shared_kernel(uint32_t* dst) {
  SHARED(uint32_t, values, [32]);
  values[threadIdx.x] = threadIdx.x * 3;
  __syncwarp();
  dst[threadIdx.x] = kernels::load_shared_32(kernels::shared_address(values) + 4 * (31 - threadIdx.x));
}

TEST_F(EmulatorTest, LoadSharedTakesByteAddresses) {
  std::vector<uint32_t> dst(32);
  launch("load_shared", load_shared_kernel, 1, 32, 0, nullptr, dst.data());
  for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(dst[i], (31 - i) * 3);
}

__global__ void mma_tf32_kernel(const float* a, const float* b, float* c, uint32_t noise) {
  const int lane = static_cast<int>(threadIdx.x), g = lane / 4, t = lane % 4;
  uint32_t regs[4];
  for (int h = 0; h < 4; ++h) {
    regs[h] = __float_as_uint(a[(g + 8 * (h & 1)) * 8 + t + 4 * (h >> 1)]) | noise;
  }
  float sums[4] = {};
  kernels::mma_tf32(sums, regs, __float_as_uint(b[t * 8 + g]) | noise, __float_as_uint(b[(t + 4) * 8 + g]));
  for (int i = 0; i < 4; ++i) c[(g + 8 * (i >> 1)) * 8 + 2 * t + (i & 1)] = sums[i];
}

TEST_F(EmulatorTest, MmaTf32IgnoresTheLow13Bits) {
  std::vector<float> a(16 * 8), b(8 * 8), c(128);
  for (size_t i = 0; i < a.size(); ++i) a[i] = small_integer(i) + 0.5f;
  for (size_t i = 0; i < b.size(); ++i) b[i] = small_integer(i + 3);
  for (const uint32_t noise : {0u, 0x1FFFu}) {
    launch("mma_tf32", mma_tf32_kernel, 1, 32, 0, nullptr, a.data(), b.data(), c.data(), noise);
    for (size_t m = 0; m < 16; ++m) {
      for (size_t n = 0; n < 8; ++n) {
        float expected = 0;
        for (size_t k = 0; k < 8; ++k) expected += a[m * 8 + k] * b[k * 8 + n];
        EXPECT_EQ(c[m * 8 + n], expected);
      }
    }
  }
}

TEST_F(EmulatorTest, RoundToTf32) {
  const auto rounded = [](float value) { return std::bit_cast<float>(kernels::round_to_tf32(value)); };
  const float ulp = 1.0f / 1024;
  EXPECT_EQ(rounded(1 + 0.49f * ulp), 1);
  EXPECT_EQ(rounded(1 + 0.5f * ulp), 1 + ulp) << "ties go away from zero";
  EXPECT_EQ(rounded(-1 - 0.5f * ulp), -1 - ulp);
  EXPECT_EQ(rounded(1 + 1.5f * ulp), 1 + 2 * ulp);
  EXPECT_EQ(rounded(INFINITY), INFINITY);
  EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0x7FFFFFFFu)))) << "what arithmetic on a GPU gives";
  EXPECT_EQ(rounded(std::bit_cast<float>(0x7F800001u)), INFINITY) << "low bits are cut, also those of a NaN";
}

TEST_F(EmulatorTest, RectifiedPairs) {
  EXPECT_EQ(kernels::rectified_pair_bf16(1.0f, -2.0f), 0x00003F80u) << "the first value is the low half";
  EXPECT_EQ(kernels::rectified_pair_bf16(-0.0f, 1.00390625f), 0x3F800000u) << "ties go to even";
  EXPECT_EQ(kernels::rectified_pair_f16(0.5f, 65504.0f), 0x7BFF3800u);
  EXPECT_EQ(kernels::rectified_pair_f16(-INFINITY, INFINITY), 0x7C000000u);
  for (const uint32_t pair :
       {kernels::rectified_pair_bf16(NAN, NAN), kernels::rectified_pair_f16(NAN, NAN)}) {
    EXPECT_EQ(pair, 0x7FFF7FFFu);
  }
}

}  // namespace
}  // namespace residuum::emulator
