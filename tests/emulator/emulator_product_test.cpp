// Self-test of the emulator: products of warpgroups (wgmma) that a GPU would carry out wrongly, wait for for
// ever, or get right by luck; each in a kernel that is right but for one thing.
#include "tests/emulator/emulator_test_support.h"

namespace residuum::emulator {
namespace {

using kernels::launch;

constexpr int kRowBytes = 128, kColumns = 64;

enum class Wrong {
  kNothing,
  kNoFence,
  kFenceTooEarly,
  kFenceTooLate,
  kFactor,
  kOneLane,
  kOneWarp,
  kStart,
  kRefill
};

/// sums = a (128 threads, ones) times columns that are all ones: 16 each.
template <Wrong kWrong, bool kCopied>
__global__ void product_kernel(const uint4* ones, float* dst) {
  DYNAMIC_SHARED(shared);
  const auto address = reinterpret_cast<uintptr_t>(shared);
  auto* const factor = reinterpret_cast<uint4*>(shared + (1024 - address % 1024) % 1024);
  const unsigned thread = threadIdx.x;
  if constexpr (kWrong == Wrong::kFenceTooEarly) kernels::fence_shared_for_wgmma();
  for (unsigned i = thread; i < kColumns * kRowBytes / 16; i += 128) {
    if constexpr (kCopied) {
      kernels::cp_async_16(kernels::shared_address(factor + i), ones, true);
    } else {
      factor[i] = *ones;
    }
  }
  kernels::cp_async_commit();
  kernels::cp_async_wait<0>();
  constexpr bool kFences =
      kWrong != Wrong::kNoFence && kWrong != Wrong::kFenceTooEarly && kWrong != Wrong::kFenceTooLate;
  if constexpr (kFences) kernels::fence_shared_for_wgmma();
  __syncthreads();
  if constexpr (kWrong == Wrong::kFenceTooLate) kernels::fence_shared_for_wgmma();
  uint32_t a[4] = {ones->x, ones->x, ones->x, ones->x};
  float sums[8][4] = {};
  kernels::SharedAddress start = kernels::shared_address(factor);
  if (kWrong == Wrong::kOneLane && thread == 40) start += 32;
  if (kWrong == Wrong::kOneWarp && thread / 32 == 2) start += 32;
  if (kWrong == Wrong::kStart) start += 128;
  kernels::wgmma_fence();
  kernels::wgmma<__nv_bfloat16, false, kRowBytes>(sums, a, {start, 0, 8 * kRowBytes});
  kernels::wgmma_commit();
  if (kWrong == Wrong::kFactor && thread == 40) a[3] = 0;
  if constexpr (kWrong == Wrong::kRefill) {
    __syncthreads();
    if (thread == 40) factor[0] = *ones;
  }
  kernels::wgmma_wait();
  dst[thread] = sums[7][3];
}

template <Wrong kWrong, bool kCopied = false>
std::string fault_of_product(unsigned threads = 128) {
  alignas(16) static const uint4 kOnes{0x3F803F80u, 0x3F803F80u, 0x3F803F80u, 0x3F803F80u};
  std::vector<float> dst(128);
  constexpr size_t kBytes = kColumns * kRowBytes + 1024 - 128;
  const std::string fault = fault_of([&] {
    launch("product", product_kernel<kWrong, kCopied>, 1, threads, kBytes, nullptr, &kOnes, dst.data());
  });
  if (fault.empty()) {
    EXPECT_EQ(dst, std::vector<float>(128, 16.0f));
  }
  return fault;
}

TEST_F(EmulatorTest, ProductsOfAWarpgroup) {
  for (const Options& way : all_ways()) {
    options() = way;
    EXPECT_EQ(fault_of_product<Wrong::kNothing>(), "");
    EXPECT_EQ((fault_of_product<Wrong::kNothing, true>()), "");
  }
}

TEST_F(EmulatorTest, WrongProductsAreFaults) {
  for (const Options& way : all_ways()) {
    options() = way;
    EXPECT_CONTAINS(fault_of_product<Wrong::kFactor>(),
                    "registers of a left factor were written before wgmma_wait");
    EXPECT_CONTAINS(fault_of_product<Wrong::kOneLane>(), "lanes of a warp started different products");
    EXPECT_CONTAINS(fault_of_product<Wrong::kOneWarp>(), "warps 0 and 2 of a warpgroup have not");
    EXPECT_CONTAINS(fault_of_product<Wrong::kStart>(), "is not aligned to eight rows of its swizzle");
    EXPECT_CONTAINS(fault_of_product<Wrong::kNothing>(96), "a warpgroup of less than four warps");
  }
}

#ifdef RESIDUUM_RACE_BUILD
TEST_F(EmulatorTest, MissingFenceBeforeAProductIsFound) {
  for (const Options& way : all_ways()) {
    options() = way;
    constexpr const char* kFault = "wgmma reads shared memory without fence_shared_for_wgmma";
    EXPECT_CONTAINS(fault_of_product<Wrong::kNoFence>(), kFault);
    EXPECT_CONTAINS((fault_of_product<Wrong::kNoFence, true>()), kFault);
    EXPECT_CONTAINS(fault_of_product<Wrong::kFenceTooEarly>(), kFault);
    EXPECT_CONTAINS((fault_of_product<Wrong::kFenceTooEarly, true>()), kFault);
    EXPECT_CONTAINS(fault_of_product<Wrong::kFenceTooLate>(), kFault);
  }
}

TEST_F(EmulatorTest, FactorsAreReadUntilTheWait) {
  for (const Options& way : all_ways()) {
    options() = way;
    EXPECT_CONTAINS(fault_of_product<Wrong::kRefill>(), "data race on shared memory");
  }
}
#endif

/// As much as a launch may ask for leaves no room for an array.
__global__ void full_kernel() {
  DYNAMIC_SHARED(raw);
  SHARED(int, one, );
  raw[0] = 0, one = 0;
}

TEST_F(EmulatorTest, StaticAndDynamicSharedMemoryAreOneRoom) {
  const auto fault = [](size_t bytes) {
    return fault_of([=] { launch("full", full_kernel, 1, 1, bytes, nullptr); });
  };
  EXPECT_EQ(fault(227 * 1024 - 4), "");
  EXPECT_CONTAINS(fault(227 * 1024), "232452 bytes; at most 232448 are allowed");
}

/// Kernels that align their part of the launch's shared memory must have asked for that.
__global__ void base_kernel(unsigned* dst) {
  DYNAMIC_SHARED(raw);
  *dst = static_cast<unsigned>(reinterpret_cast<uintptr_t>(raw) % 1024);
}

TEST_F(EmulatorTest, DynamicSharedMemoryLiesBehind128BytesOfStaticMemory) {
  unsigned base = 0;
  launch("base", base_kernel, 1, 1, 64, nullptr, &base);
  EXPECT_EQ(base, 128u);
}

}  // namespace
}  // namespace residuum::emulator
