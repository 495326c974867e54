// Self-test of the race detector: kernels that are right but for one missing barrier, fence or atomic. They
// often compute the right result, in the emulator as on a GPU; the detector must stop each in every order,
// and must not stop the right form of the same kernel.
#include "tests/emulator/emulator_test_support.h"

namespace residuum::emulator {
namespace {

using kernels::launch;

/// Runs a kernel in all ways: every one must end in a race on memory of this kind, whose message it returns;
/// or none, with kind "no".
template <typename... Parameters, typename... Arguments>
void expect_races(const std::string& kind, void (*kernel)(Parameters...), unsigned grid, unsigned block,
                  Arguments... arguments) {
  for (const Options& way : all_ways()) {
    options() = way;
    const std::string text = fault_of([&] { launch("race", kernel, grid, block, 0, nullptr, arguments...); });
    if (kind == "no") {
      EXPECT_EQ(text, "");
    } else {
      EXPECT_CONTAINS(text, "data race on " + kind + " memory: ");
      EXPECT_CONTAINS(text, "is not ordered after the ");
    }
  }
}

// ---- within a block ----

enum class Missing { kNothing, kFirst, kSecond };

template <Missing kMissing>
__global__ void exchange_kernel(int* dst) {
  SHARED(int, values, [64]);
  for (int i = 0; i < 2; ++i) {
    values[threadIdx.x] = i;
    if constexpr (kMissing != Missing::kFirst) __syncthreads();
    dst[blockIdx.x * 64 + threadIdx.x] = values[63 - threadIdx.x];
    if constexpr (kMissing != Missing::kSecond) __syncthreads();
  }
}

TEST_F(EmulatorTest, MissingBarrierIsARace) {
  std::vector<int> dst(128);
  expect_races("no", exchange_kernel<Missing::kNothing>, 2, 64, dst.data());
  expect_races("shared", exchange_kernel<Missing::kFirst>, 2, 64, dst.data());
  expect_races("shared", exchange_kernel<Missing::kSecond>, 2, 64, dst.data());
}

template <Missing kMissing>
__global__ void lanes_kernel(int* dst) {
  SHARED(int, values, [64]);
  const unsigned warp = threadIdx.x / 32 * 32;
  for (int i = 0; i < 2; ++i) {
    values[threadIdx.x] = i;
    if constexpr (kMissing != Missing::kFirst) __syncwarp();
    dst[threadIdx.x] = values[warp + (threadIdx.x + 1) % 32];
    if constexpr (kMissing != Missing::kSecond) __syncwarp();
  }
}
/// __syncwarp orders the lanes of its mask and no others; a shuffle orders nothing.
__global__ void other_lanes_kernel(int* dst) {
  SHARED(int, values, [32]);
  values[threadIdx.x] = 1;
  __syncwarp(threadIdx.x < 16 ? 0xFFFFu : 0xFFFF0000u);
  dst[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, values[31 - threadIdx.x], 1);
}

TEST_F(EmulatorTest, MissingSyncwarpIsARace) {
  std::vector<int> dst(64);
  expect_races("no", lanes_kernel<Missing::kNothing>, 1, 64, dst.data());
  expect_races("shared", lanes_kernel<Missing::kFirst>, 1, 64, dst.data());
  expect_races("shared", lanes_kernel<Missing::kSecond>, 1, 64, dst.data());
  expect_races("shared", other_lanes_kernel, 1, 32, dst.data());
}

/// Neighbours share a word but no byte.
__global__ void bytes_kernel(uint8_t* dst, uint16_t* wide) {
  dst[threadIdx.x] = static_cast<uint8_t>(threadIdx.x);
  wide[threadIdx.x] = 1;
}
__global__ void overlap_kernel(uint8_t* dst, uint16_t* wide) {
  dst[threadIdx.x] = 1;
  if (threadIdx.x == 5) *reinterpret_cast<uint16_t*>(dst + 6) = 2;
  wide[threadIdx.x] = 1;
}

TEST_F(EmulatorTest, RacesAreOfBytes) {
  std::vector<uint8_t> dst(64);
  std::vector<uint16_t> wide(64);
  expect_races("no", bytes_kernel, 1, 64, dst.data(), wide.data());
  expect_races("global", overlap_kernel, 1, 64, dst.data(), wide.data());
}

/// A stage is refilled while another warp may still read it.
template <Missing kMissing>
__global__ void refill_kernel(const uint4* src, uint4* dst) {
  SHARED(uint4, stage, [64]);
  for (int step = 0; step < 3; ++step) {
    kernels::cp_async_16(kernels::shared_address(&stage[threadIdx.x]), src + threadIdx.x, true);
    kernels::cp_async_commit();
    kernels::cp_async_wait<0>();
    if constexpr (kMissing != Missing::kFirst) __syncthreads();
    dst[threadIdx.x] = stage[63 - threadIdx.x];
    if constexpr (kMissing != Missing::kSecond) __syncthreads();
  }
}

TEST_F(EmulatorTest, AsynchronousCopiesRaceToo) {
  std::vector<uint4> src(64), dst(64);
  expect_races("no", refill_kernel<Missing::kNothing>, 1, 64, src.data(), dst.data());
  expect_races("shared", refill_kernel<Missing::kFirst>, 1, 64, src.data(), dst.data());
  expect_races("shared", refill_kernel<Missing::kSecond>, 1, 64, src.data(), dst.data());
}

// ---- across launches ----

__global__ void early_copy_kernel(const uint4* src, uint4* dst) {
  SHARED(uint4, stage, [32]);
  kernels::cp_async_16(kernels::shared_address(&stage[threadIdx.x]), src + threadIdx.x, true);
  kernels::cp_async_commit();
  kernels::grid_dependency_wait();
  kernels::cp_async_wait<0>();
  dst[threadIdx.x] = stage[threadIdx.x];
}

/// A copy that does not wait may read what was written further back, and not what the launch ahead writes.
TEST_F(EmulatorTest, EarlyCopiesOfWhatTheLaunchAheadWritesAreNamed) {
  void* memory = nullptr;
  ASSERT_EQ(cudaMalloc(&memory, 96 * sizeof(uint4)), cudaSuccess);
  auto* const a = static_cast<uint4*>(memory);
  uint4 *const b = a + 32, *const c = b + 32;
  const auto run = [&](const uint4* src, uint4* dst) {
    return fault_of([&] { launch("early", early_copy_kernel, 1, 32, 0, nullptr, src, dst); });
  };
  options().every_grid_waits = true;
  EXPECT_EQ(run(a, b), "");
  const std::string text = run(b, c);
  EXPECT_CONTAINS(text, "reads what the launch before this one writes");
  EXPECT_EQ(run(a, b), "");
  EXPECT_EQ(run(a, c), "");
  EXPECT_EQ(run(b, c), "") << "written two launches before";
  EXPECT_EQ(run(a, b), "");
  std::vector<uint4> host(32);
  ASSERT_EQ(cudaMemcpy(host.data(), b, 32 * sizeof(uint4), cudaMemcpyDeviceToHost), cudaSuccess);
  EXPECT_EQ(run(b, c), "") << "the copy to the host has waited";
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
}

// ---- across blocks ----

__global__ void lost_update_kernel(int* counter) {
  if (threadIdx.x == 0) ++*counter;
}
__global__ void counted_update_kernel(int* counter) {
  if (threadIdx.x == 0) atomicAdd(counter, 1);
}
/// An atomic protects from atomics only.
__global__ void mixed_update_kernel(int* counter) {
  if (blockIdx.x == 0) {
    *counter = 1;
  } else {
    atomicAdd(counter, 1);
  }
}

TEST_F(EmulatorTest, LostUpdateIsARace) {
  int counter = 0;
  expect_races("no", counted_update_kernel, 9, 32, &counter);
  expect_races("global", lost_update_kernel, 9, 32, &counter);
  expect_races("global", mixed_update_kernel, 9, 1, &counter);
}

/// The last block adds what all have written; kFirst and kSecond name the fence that is missing.
template <Missing kMissing>
__global__ void last_block_kernel(float* partial, float* dst, unsigned* counter) {
  SHARED(bool, last, );
  partial[blockIdx.x * blockDim.x + threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 0) {
    if constexpr (kMissing != Missing::kFirst) __threadfence();
    last = atomicAdd(counter, 1) == gridDim.x - 1;
    if constexpr (kMissing != Missing::kSecond) __threadfence();
  }
  __syncthreads();
  if (!last) return;
  float sum = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += partial[i * blockDim.x + threadIdx.x];
  dst[threadIdx.x] = sum;
  if (threadIdx.x == 0) *counter = 0;
}
/// A fence by each thread, but no barrier between the writes and the atomic.
__global__ void last_block_unjoined_kernel(float* partial, float* dst, unsigned* counter) {
  SHARED(bool, last, );
  partial[blockIdx.x * blockDim.x + threadIdx.x] = 1;
  __threadfence();
  if (threadIdx.x == 0) {
    last = atomicAdd(counter, 1) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (last) dst[threadIdx.x] = partial[(threadIdx.x + 1) % 64];
}

TEST_F(EmulatorTest, MissingFenceIsARace) {
  std::vector<float> partial(20 * 64), dst(64);
  unsigned counter = 0;
  const auto expect = [&](const std::string& kind, auto kernel) {
    for (const Options& way : all_ways()) {
      options() = way;
      counter = 0;
      const std::string text =
          fault_of([&] { launch("last", kernel, 20, 64, 0, nullptr, partial.data(), dst.data(), &counter); });
      if (kind == "no") {
        EXPECT_EQ(text, "");
        EXPECT_EQ(counter, 0u);
        EXPECT_EQ(dst[63], 20);
      } else {
        EXPECT_CONTAINS(text, "data race on global memory: read at ");
      }
    }
  };
  expect("no", last_block_kernel<Missing::kNothing>);
  expect("race", last_block_kernel<Missing::kFirst>);
  expect("race", last_block_kernel<Missing::kSecond>);
  expect("race", last_block_unjoined_kernel);
}

}  // namespace
}  // namespace residuum::emulator
