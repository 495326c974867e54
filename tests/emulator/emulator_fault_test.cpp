// Self-test of the emulator: wrong kernels. Each has one seeded fault, and the detector meant for it must
// fire: an error with a name, or results that differ between scheduling orders or arrivals of copies. Faults
// that only the race detector sees are in emulator_race_test.cpp.
#include <cmath>
#include <cstring>

#include "tests/emulator/emulator_test_support.h"

#ifdef __SANITIZE_ADDRESS__
#define RESIDUUM_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RESIDUUM_TEST_ASAN 1
#endif
#endif

namespace residuum::emulator {
namespace {

using kernels::launch;
using kernels::LaunchError;
constexpr unsigned kAll = 0xFFFFFFFFu;

// ---- barriers ----

__global__ void two_barriers_kernel() {
  if (threadIdx.x < 40) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void early_exit_kernel() {
  if (threadIdx.x >= 40) return;
  __syncthreads();
}

TEST_F(EmulatorTest, BarrierAtTwoPlacesIsNamed) {
  for (const Options& way : all_ways()) {
    options() = way;
    const std::string text = fault_of([] { launch("split", two_barriers_kernel, 3, 64, 0, nullptr); });
    EXPECT_CONTAINS(text, "kernel split: block (");
    EXPECT_CONTAINS(text, "divergent barrier: __syncthreads at ");
    EXPECT_CONTAINS(text, "emulator_fault_test.cpp:");
    EXPECT_CONTAINS(text, "threads of the block wait at __syncthreads at ");
  }
}

TEST_F(EmulatorTest, ExitBesideABarrierIsNamed) {
  for (const Options& way : all_ways()) {
    options() = way;
    EXPECT_CONTAINS(fault_of([] { launch("exit", early_exit_kernel, 1, 64, 0, nullptr); }),
                    "divergent barrier: ");
  }
}

__global__ void deadlock_kernel() {
  if (threadIdx.x == 3) {
    __syncthreads();
  } else {
    __syncwarp();
  }
}

TEST_F(EmulatorTest, DeadlockSaysWhoWaitsWhere) {
  const std::string text = fault_of([] { launch("stuck", deadlock_kernel, 1, 32, 0, nullptr); });
  EXPECT_CONTAINS(text, "kernel stuck: deadlock: no thread can go on\n  block (0,0,0):");
  EXPECT_CONTAINS(text, "threads (0,0,0) to (2,0,0): wait at __syncwarp of lanes 0xffffffff at ");
  EXPECT_CONTAINS(text, "threads (3,0,0): wait at __syncthreads at ");
  EXPECT_CONTAINS(text, "threads (4,0,0) to (31,0,0): wait at __syncwarp of lanes 0xffffffff at ");
}

// ---- warps ----

__global__ void absent_lane_kernel() {
  if (threadIdx.x != 9) __syncwarp();
}
__global__ void two_votes_kernel(int* dst) {
  if (threadIdx.x % 2) {
    dst[threadIdx.x] = __any_sync(kAll, 1);
  } else {
    dst[threadIdx.x] = __any_sync(kAll, 1);
  }
}
__global__ void two_masks_kernel(int* dst) {
  dst[threadIdx.x] = __any_sync(threadIdx.x ? kAll : 1u, 1);
}
__global__ void outside_mask_kernel(int* dst) {
  dst[threadIdx.x] = __any_sync(0xFFFFu, 1);
}
__global__ void outside_source_kernel(int* dst) {
  if (threadIdx.x < 16) dst[threadIdx.x] = __shfl_down_sync(0xFFFFu, 1, 8);
}

TEST_F(EmulatorTest, WarpFunctionsWithoutTheirLanesAreNamed) {
  std::vector<int> dst(32);
  const auto fault = [&](auto kernel) {
    return fault_of([&] { launch("warp", kernel, 1, 32, 0, nullptr, dst.data()); });
  };
  for (const Options& way : all_ways()) {
    options() = way;
    const std::string absent = fault_of([] { launch("absent", absent_lane_kernel, 1, 32, 0, nullptr); });
    EXPECT_CONTAINS(absent, "absent lane: ");
    const std::string split = fault(two_votes_kernel);
    EXPECT_CONTAINS(split, "warp function mismatch: the thread calls __any_sync of lanes 0xffffffff at ");
    EXPECT_CONTAINS(split, "of its warp waits at __any_sync of lanes 0xffffffff at ");
    EXPECT_CONTAINS(fault(outside_mask_kernel), "the calling lane is not in the mask");
    EXPECT_CONTAINS(fault(outside_source_kernel), "which is not in the mask");
    EXPECT_NE(fault(two_masks_kernel), "");
  }
}

TEST_F(EmulatorTest, LanesThatDoNotExistAreNamed) {
  EXPECT_CONTAINS(fault_of([] { launch("short", deadlock_kernel, 1, 3, 0, nullptr); }),
                  "names lane 3, which has exited or does not exist");
}

// ---- memory ----

__global__ void unwritten_kernel(float* dst) {
  SHARED(float, values, [32]);
  if (threadIdx.x != 7) values[threadIdx.x] = 1;
  __syncthreads();
  dst[blockIdx.x * 32 + threadIdx.x] = values[threadIdx.x];
}

TEST_F(EmulatorTest, SharedMemoryThatNobodyWroteIsNaN) {
  std::vector<float> dst(64);
  // The second block reuses the memory of the first, which must not show.
  options().resident_blocks = 1;
  launch("unwritten", unwritten_kernel, 2, 32, 0, nullptr, dst.data());
  for (int i = 0; i < 64; ++i) EXPECT_EQ(std::isnan(dst[i]), i % 32 == 7);
}

__global__ void overflow_kernel(int bytes) {
  DYNAMIC_SHARED(raw);
  volatile unsigned char* end = raw + bytes;
  *end = 1;
}

#ifdef RESIDUUM_TEST_ASAN
TEST_F(EmulatorTest, SharedOverflowIsSeenByAddressSanitizer) {
  EXPECT_DEATH(launch("overflow", overflow_kernel, 1, 1, 100, nullptr, 100), "heap-buffer-overflow");
}
#endif

__global__ void large_static_kernel() {
  SHARED(char, large, [40000]);
  SHARED(char, too_large, [20000]);
  large[0] = too_large[0] = 0;
}

TEST_F(EmulatorTest, SharedMemoryBeyondTheLimitIsRefused) {
  EXPECT_CONTAINS(fault_of([] { launch("large", large_static_kernel, 1, 1, 0, nullptr); }),
                  "SHARED arrays of 60000 bytes; at most 49152 are allowed");
  options().max_dynamic_shared = 163 * 1024;
  std::string text;
  try {
    launch("deep", overflow_kernel, 1, 1, 163 * 1024 + 1, nullptr, 0);
  } catch (const LaunchError& error) {
    EXPECT_EQ(error.code(), 1);
    text = error.what();
  }
  EXPECT_EQ(text, "deep: 166913 bytes of dynamic shared memory; at most 166912 are allowed");
  EXPECT_NO_THROW(launch("deep", overflow_kernel, 1, 1, 163 * 1024, nullptr, 0));
}

TEST_F(EmulatorTest, ImpossibleShapesAreRefused) {
  EXPECT_THROW(launch("wide", early_exit_kernel, 1, 1025, 0, nullptr), LaunchError);
  EXPECT_THROW(launch("empty", early_exit_kernel, 1, 0, 0, nullptr), LaunchError);
  EXPECT_THROW(launch("none", early_exit_kernel, 0, 32, 0, nullptr), LaunchError);
  EXPECT_THROW(launch("tall", early_exit_kernel, dim3(1, 65536), 32, 0, nullptr), LaunchError);
}

__global__ void ldmatrix_outside_kernel(const uint4* rows, int shift) {
  SHARED(uint4, tile, [64]);
  uint32_t regs[4];
  const auto* row = rows ? rows + threadIdx.x : tile + threadIdx.x;
  kernels::ldmatrix_x4(regs, kernels::shared_address(row) + shift);
}

TEST_F(EmulatorTest, LdmatrixTakesAlignedRowsOfSharedMemory) {
  std::vector<uint4> rows(32);
  const auto fault = [](const uint4* from, int shift) {
    return fault_of([=] { launch("rows", ldmatrix_outside_kernel, 1, 32, 0, nullptr, from, shift); });
  };
  EXPECT_CONTAINS(fault(rows.data(), 0), "ldmatrix_x4 at ");
  EXPECT_CONTAINS(fault(nullptr, 8), "aligned to 16");
  EXPECT_EQ(fault(nullptr, 16), "");
}

__global__ void throwing_kernel() {
  if (threadIdx.x == 2) throw std::runtime_error("of its own");
}

TEST_F(EmulatorTest, AnExceptionInAKernelIsAFault) {
  EXPECT_CONTAINS(fault_of([] { launch("throws", throwing_kernel, 1, 32, 0, nullptr); }),
                  "kernel throws: block (0,0,0), thread (2,0,0): an exception left the kernel: of its own");
}

// ---- faults that show as differences ----

template <int kPending>
__global__ void weak_wait_kernel(const uint4* src, uint4* dst) {
  SHARED(uint4, tile, [2][32]);
  for (int i = 0; i < 2; ++i) {
    kernels::cp_async_16(kernels::shared_address(&tile[i][threadIdx.x]), src + i * 32 + threadIdx.x, true);
    kernels::cp_async_commit();
  }
  kernels::cp_async_wait<kPending>();
  dst[threadIdx.x] = tile[1][threadIdx.x];
}

TEST_F(EmulatorTest, TooWeakAWaitShowsWhenCopiesAreLate) {
  std::vector<uint4> src(64, uint4{1, 2, 3, 4});
  const auto first_word = [&](auto kernel) {
    return in_all_ways([&] {
      std::vector<uint4> dst(32);
      launch("wait", kernel, 1, 32, 0, nullptr, src.data(), dst.data());
      return dst[0].x;
    });
  };
  EXPECT_TRUE(all_equal(first_word(weak_wait_kernel<0>)));
  EXPECT_FALSE(all_equal(first_word(weak_wait_kernel<1>)));
  EXPECT_EQ(first_word(weak_wait_kernel<1>)[0], 0xFFFFFFFFu) << "of a late copy";
}

__global__ void lost_update_kernel(int* counter) {
  if (threadIdx.x == 0) atomicExch(counter, atomicAdd(counter, 0) + 1);
}

TEST_F(EmulatorTest, LostUpdatesShowAsBlocksInterleave) {
  int counter = 0;
  launch("lost", lost_update_kernel, 64, 32, 0, nullptr, &counter);
  EXPECT_LT(counter, 64);
}

__global__ void arrival_order_kernel(const float* src, float* list, float* dst, unsigned* counter) {
  const unsigned place = atomicAdd(counter, 1);
  list[place] = src[blockIdx.x];
  if (place + 1 < gridDim.x) return;
  float sum = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += list[i];
  *dst = sum;
}

#ifndef RESIDUUM_RACE_BUILD  // there the list without fences is a race
TEST_F(EmulatorTest, SumsInTheOrderOfArrivalDiffer) {
  std::vector<float> src(200);
  for (size_t i = 0; i < src.size(); ++i) src[i] = 1.0f / static_cast<float>(i + 1);
  const auto results = in_all_ways([&] {
    std::vector<float> list(src.size()), dst(1);
    unsigned counter = 0;
    launch("arrival", arrival_order_kernel, static_cast<unsigned>(src.size()), 1, 0, nullptr, src.data(),
           list.data(), dst.data(), &counter);
    return dst[0];
  });
  EXPECT_FALSE(all_equal(results));
}
#endif

// ---- dependent launches ----

/// Half of the threads wait for the grids before, when `some`; else all.
__global__ void waiting_kernel(bool some, int* dst) {
  if (!some || threadIdx.x < 32) kernels::grid_dependency_wait();
  dst[threadIdx.x] = 1;
}
__global__ void trigger_first_kernel() {
  kernels::grid_dependency_trigger();
  kernels::grid_dependency_wait();
}

__global__ void hasty_atomic_kernel(unsigned* counter) {
  kernels::add_acquire_release(counter, 1);
  kernels::grid_dependency_wait();
}

TEST_F(EmulatorTest, AGridThatDoesNotWaitForThoseBeforeIsNamed) {
  std::vector<int> dst(64);
  const auto run = [&](const char* name, bool some) {
    return fault_of([&] { launch(name, waiting_kernel, 1, 64, 0, nullptr, some, dst.data()); });
  };
  EXPECT_EQ(run("ordinary", true), "") << "an ordinary launch need not wait";
  options().every_grid_waits = true;
  EXPECT_EQ(run("waiting", false), "");
  const std::string text = run("hasty", true);
  EXPECT_CONTAINS(text, "kernel hasty: block (");
  EXPECT_CONTAINS(text, "grid_dependency_wait");
  EXPECT_CONTAINS(fault_of([] { launch("eager", trigger_first_kernel, 1, 32, 0, nullptr); }),
                  "grid_dependency_trigger comes before grid_dependency_wait");
  unsigned counter = 0;
  EXPECT_CONTAINS(fault_of([&] { launch("atomic", hasty_atomic_kernel, 1, 32, 0, nullptr, &counter); }),
                  "an atomic comes before grid_dependency_wait");
}

TEST_F(EmulatorTest, ALaunchIsDependentOnlyRightBehindAnother) {
  std::vector<int> dst(64);
  options().record_launches = true;
  clear_launch_records();
  const auto run = [&](const char* name) {
    launch(name, waiting_kernel, 1, 64, 0, nullptr, false, dst.data());
    return launch_records().back().dependent;
  };
  kernels::DependentLaunches& dependent = kernels::DependentLaunches::of_this_thread();
  EXPECT_FALSE(run("a"));
  EXPECT_FALSE(run("b")) << "off at first";
  dependent.use(true);
  EXPECT_FALSE(run("c")) << "who knows what is before it";
  EXPECT_TRUE(run("d"));
  dependent.interrupt(nullptr);
  EXPECT_FALSE(run("e"));
  EXPECT_TRUE(run("f"));
  const std::string text =
      fault_of([&] { launch("hasty", waiting_kernel, 1, 64, 0, nullptr, true, dst.data()); });
  EXPECT_CONTAINS(text, "grid_dependency_wait");
  dependent.use(false);
  EXPECT_FALSE(run("g"));
}

TEST_F(EmulatorTest, TheEmulatorGoesOnAfterAFault) {
  std::vector<float> dst(32);
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(fault_of([] { launch("stuck", deadlock_kernel, 8, 1024, 1000, nullptr); }), "");
    launch("unwritten", unwritten_kernel, 1, 32, 0, nullptr, dst.data());
    EXPECT_EQ(dst[0], 1);
  }
}

}  // namespace
}  // namespace residuum::emulator
