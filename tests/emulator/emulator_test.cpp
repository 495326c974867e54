// Self-test of the emulator, first part: right kernels compute what plain loops do, with equal bits in every
// scheduling order and with every arrival of asynchronous copies. Built with the race detector too, which must
// find nothing here.
#include <algorithm>
#include <bit>
#include <numeric>

#include "tests/emulator/emulator_test_support.h"

namespace residuum::emulator {
namespace {

using kernels::launch;
constexpr unsigned kAll = 0xFFFFFFFFu;

// ---- positions, shared memory, barriers ----

struct Shape {
  int counts[3];
};
__global__ void position_kernel(int* seen, const Shape shape) {
  const unsigned x = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned y = blockIdx.y * blockDim.y + threadIdx.y;
  const unsigned z = blockIdx.z * blockDim.z + threadIdx.z;
  ++seen[(z * shape.counts[1] + y) * shape.counts[0] + x];
}

TEST_F(EmulatorTest, EveryThreadOfTheGridRunsOnce) {
  std::vector<int> seen(12 * 10 * 6);
  for (const Options& way : all_ways()) {
    options() = way;
    std::fill(seen.begin(), seen.end(), 0);
    launch("position", position_kernel, dim3(3, 5, 2), dim3(4, 2, 3), 0, nullptr, seen.data(),
           Shape{{12, 10, 6}});
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 720);
  }
}

TEST_F(EmulatorTest, ArgumentsAreCopiedAtTheLaunch) {
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  std::vector<int> seen(64);
  Shape shape{{64, 1, 1}};
  launch("position", position_kernel, 2, 32, 0, stream, seen.data(), shape);
  shape = {};
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 64);
}

template <int kRows>
__global__ void transpose_kernel(const int* src, int* dst) {
  SHARED(int, tile, [kRows][33]);
  SHARED(int, sum, );
  const unsigned row = threadIdx.x / 32, column = threadIdx.x % 32;
  if (threadIdx.x == 0) sum = 0;
  tile[row][column] = src[threadIdx.x];
  __syncthreads();
  atomicAdd(&sum, tile[row][column]);
  dst[column * kRows + row] = tile[row][column];
  __syncthreads();
  if (threadIdx.x == 0) dst[32 * kRows] = sum;
}

TEST_F(EmulatorTest, SharedArraysBelongToTheBlockAndTheInstance) {
  std::vector<int> src(256), dst(257);
  std::iota(src.begin(), src.end(), 0);
  for (const Options& way : all_ways()) {
    options() = way;
    launch("transpose", transpose_kernel<8>, 1, 256, 0, nullptr, src.data(), dst.data());
    for (int i = 0; i < 256; ++i) EXPECT_EQ(dst[i % 32 * 8 + i / 32], i);
    EXPECT_EQ(dst[256], 255 * 128);
    launch("transpose", transpose_kernel<4>, 1, 128, 0, nullptr, src.data(), dst.data());
    EXPECT_EQ(dst[128], 127 * 64);
  }
}

__global__ void barrier_kernel(int* dst) {
  DYNAMIC_SHARED(raw);
  auto* values = reinterpret_cast<int*>(raw);
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  const int any = __syncthreads_or(threadIdx.x == 70), all = __syncthreads_and(threadIdx.x < 95);
  const int count = __syncthreads_count(values[95 - threadIdx.x] % 3 == 0);
  dst[threadIdx.x] = (any != 0) * 1000 + (all != 0) * 100 + count;
  if (threadIdx.x == 0) dst[96] = reinterpret_cast<uintptr_t>(raw) % 128 == 0;
}

TEST_F(EmulatorTest, BarriersCombinePredicates) {
  std::vector<int> dst(97);
  launch("barrier", barrier_kernel, 1, 96, 96 * sizeof(int), nullptr, dst.data());
  EXPECT_EQ(std::count(dst.begin(), dst.end(), 1032), 96);
  EXPECT_EQ(dst[96], 1) << "dynamic shared memory is not aligned to 128 bytes";
}

// ---- warps ----

__global__ void warp_kernel(const float* src, float* dst) {
  const unsigned lane = threadIdx.x % 32;
  const float value = src[threadIdx.x];
  float down = value, both = value, scan = value;
  for (int step = 16; step > 0; step /= 2) {
    down += __shfl_down_sync(kAll, down, step);
    both += __shfl_xor_sync(kAll, both, step);
  }
  for (unsigned step = 1; step < 32; step *= 2) {
    const float other = __shfl_up_sync(kAll, scan, step);
    if (lane >= step) scan += other;
  }
  const float first = __shfl_sync(kAll, value, 0), quarter = __shfl_sync(kAll, value, 9, 8);
  float half = 0;
  if (lane < 16) half = __shfl_xor_sync(0xFFFFu, value, 1);
  const unsigned votes = __ballot_sync(kAll, value > 15);
  float* out = dst + threadIdx.x * 8;
  out[0] = lane == 0 ? down : both;
  out[1] = both;
  out[2] = scan;
  out[3] = first;
  out[4] = quarter;
  out[5] = half;
  out[6] = static_cast<float>(__popc(votes));
  out[7] = static_cast<float>(2 * __any_sync(kAll, value > 30) + __all_sync(kAll, value > 0));
}

TEST_F(EmulatorTest, WarpFunctionsMatchTheirDefinition) {
  std::vector<float> src(64);
  for (int i = 0; i < 64; ++i) src[i] = static_cast<float>(i % 32 + i / 32);
  const auto results = in_all_ways([&] {
    std::vector<float> dst(64 * 8);
    launch("warp", warp_kernel, 1, 64, 0, nullptr, src.data(), dst.data());
    return dst;
  });
  EXPECT_TRUE(all_equal(results));
  for (int i = 0; i < 64; ++i) {
    const float* out = &results[0][i * 8];
    const int warp = i / 32, lane = i % 32;
    EXPECT_EQ(out[0], 496 + 32 * warp);
    EXPECT_EQ(out[1], 496 + 32 * warp);
    EXPECT_EQ(out[2], lane * (lane + 1) / 2 + (lane + 1) * warp);
    EXPECT_EQ(out[3], warp);
    EXPECT_EQ(out[4], lane / 8 * 8 + 1 + warp);
    EXPECT_EQ(out[5], lane < 16 ? (lane ^ 1) + warp : 0);
    EXPECT_EQ(out[6], 16 + warp);
    EXPECT_EQ(out[7], 2 + warp);
  }
}

__global__ void rotate_kernel(int* dst) {
  SHARED(int, values, [32]);
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 3; ++i) {
    __syncwarp();
    const int next = values[(threadIdx.x + 1) % 32];
    __syncwarp();
    values[threadIdx.x] = next;
  }
  dst[threadIdx.x] = values[threadIdx.x];
}

TEST_F(EmulatorTest, SyncwarpOrdersSharedMemoryOfAWarp) {
  const auto results = in_all_ways([] {
    std::vector<int> dst(32);
    launch("rotate", rotate_kernel, 1, 32, 0, nullptr, dst.data());
    return dst;
  });
  EXPECT_TRUE(all_equal(results));
  for (int i = 0; i < 32; ++i) EXPECT_EQ(results[0][i], (i + 3) % 32);
}

// ---- across blocks ----

__global__ void sum_kernel(const float* src, float* partial, float* dst, unsigned* counter) {
  SHARED(float, sums, [4]);
  SHARED(bool, last, );
  float sum = src[blockIdx.x * blockDim.x + threadIdx.x];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(kAll, sum, step);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sums[0] + sums[1] + sums[2] + sums[3];
    __threadfence();
    last = atomicAdd(counter, 1) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last || threadIdx.x > 0) return;
  float total = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) total += partial[i];
  *dst = total;
  *counter = 0;
}

/// Also the speed: 1000 blocks of 128 threads, about ten switches each, take well below a second.
TEST_F(EmulatorTest, LastBlockSumsInAFixedOrder) {
  constexpr unsigned kBlocks = 1000;
  std::vector<float> src(kBlocks * 128);
  for (size_t i = 0; i < src.size(); ++i) src[i] = 1.0f / static_cast<float>(i + 1);
  const auto results = in_all_ways([&] {
    std::vector<float> partial(kBlocks), dst(1);
    unsigned counter = 0;
    launch("sum", sum_kernel, kBlocks, 128, 0, nullptr, src.data(), partial.data(), dst.data(), &counter);
    EXPECT_EQ(counter, 0u);
    return std::bit_cast<uint32_t>(dst[0]);
  });
  EXPECT_TRUE(all_equal(results));
  EXPECT_NEAR(std::bit_cast<float>(results[0]), 12.33701, 1e-4);
}

TEST_F(EmulatorTest, LaunchesAreRecordedOnDemand) {
  std::vector<int> seen(64);
  clear_launch_records();
  launch("position", position_kernel, 2, 32, 0, nullptr, seen.data(), Shape{{64, 1, 1}});
  EXPECT_TRUE(launch_records().empty());
  options().record_launches = true;
  launch("position", position_kernel, 2, 32, 16, nullptr, seen.data(), Shape{{64, 1, 1}});
  ASSERT_EQ(launch_records().size(), 1u);
  const Launch& record = launch_records()[0];
  EXPECT_EQ(record.name, "position");
  EXPECT_EQ(record.grid.x, 2u);
  EXPECT_EQ(record.block.x, 32u);
  EXPECT_EQ(record.shared_bytes, 16u);
  clear_launch_records();
}

// ---- asynchronous copies ----

__global__ void pipeline_kernel(const float* src, float* dst, int steps) {
  SHARED(float4, ring, [2][32]);
  const auto fetch = [&](int step) {
    kernels::cp_async_16(kernels::shared_address(&ring[step % 2][threadIdx.x]),
                         src + (step * 32 + threadIdx.x) * 4, step < steps && threadIdx.x != 5);
    kernels::cp_async_commit();
  };
  float sum = 0;
  fetch(0);
  for (int step = 0; step < steps; ++step) {
    fetch(step + 1);
    kernels::cp_async_wait<1>();
    __syncthreads();
    const float4 other = ring[step % 2][31 - threadIdx.x];
    sum += other.x + other.y + other.z + other.w;
    __syncthreads();
  }
  dst[threadIdx.x] = sum;
}

TEST_F(EmulatorTest, AsynchronousCopiesArriveByTheirWait) {
  constexpr int kSteps = 5;
  std::vector<float> src((kSteps + 1) * 128);
  std::iota(src.begin(), src.end(), 0.0f);
  const auto results = in_all_ways([&] {
    std::vector<float> dst(32);
    launch("pipeline", pipeline_kernel, 1, 32, 0, nullptr, src.data(), dst.data(), kSteps);
    return dst;
  });
  EXPECT_TRUE(all_equal(results));
  for (int i = 0; i < 32; ++i) {
    float expected = 0;
    for (int step = 0; step < kSteps; ++step) {
      for (int k = 0; k < 4; ++k) expected += src[(step * 32 + 31 - i) * 4 + k];
    }
    EXPECT_EQ(results[0][i], 31 - i == 5 ? 0.0f : expected);
  }
}

}  // namespace
}  // namespace residuum::emulator
