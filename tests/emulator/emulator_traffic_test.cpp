// Self-test of the traffic counts: kernels whose distinct bytes are known, in device memory beside memory
// that does not count.
#include "tests/emulator/emulator_test_support.h"
#include "tests/emulator/traffic.h"

namespace residuum::emulator {
namespace {

using kernels::launch;

/// An array in device memory, zeros.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) {
    void* address = nullptr;
    EXPECT_EQ(cudaMalloc(&address, count * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaMemset(address, 0, count * sizeof(T)), cudaSuccess);
    at_ = static_cast<T*>(address);
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(at_); }
  T* data() const { return at_; }

 private:
  T* at_ = nullptr;
};

/// Checks what the kernel reads and writes, in all ways.
template <typename... Parameters, typename... Arguments>
void expect_traffic(size_t bytes_read, size_t bytes_written, void (*kernel)(Parameters...), unsigned grid,
                    unsigned block, Arguments... arguments) {
  for (Options way : all_ways()) {
    way.record_launches = true;
    options() = way;
    clear_launch_records();
    launch("traffic", kernel, grid, block, 0, nullptr, arguments...);
    ASSERT_EQ(traffic_records().size(), 1u);
    EXPECT_EQ(traffic_records()[0].bytes_read, bytes_read);
    EXPECT_EQ(traffic_records()[0].bytes_written, bytes_written);
  }
  clear_launch_records();
}

/// Every thread moves a float; those behind `count` move none.
__global__ void copy_part_kernel(const float* src, float* dst, unsigned count) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) dst[i] = src[i];
}

TEST_F(EmulatorTest, TrafficOfACopyOfAPart) {
  const DeviceArray<float> src(5000), dst(5000);
  expect_traffic(4 * 3001, 4 * 3001, copy_part_kernel, 100, 32, src.data() + 7, dst.data() + 1999, 3001u);
}

TEST_F(EmulatorTest, HostMemoryIsNoTraffic) {
  const DeviceArray<float> array(64);
  std::vector<float> host(64);
  expect_traffic(256, 0, copy_part_kernel, 2, 32, array.data(), host.data(), 64u);
  expect_traffic(0, 256, copy_part_kernel, 2, 32, host.data(), array.data(), 64u);
}

/// Neighbours read each other's bytes too, by way of shared memory and the stack.
__global__ void read_twice_kernel(const uint8_t* src, uint8_t* dst) {
  SHARED(uint8_t, shared, [64]);
  uint8_t own[2] = {src[threadIdx.x], src[(threadIdx.x + 1) % 64]};
  shared[threadIdx.x] = own[threadIdx.x % 2];
  __syncthreads();
  dst[threadIdx.x] = shared[63 - threadIdx.x];
  dst[threadIdx.x] = own[0];
}

TEST_F(EmulatorTest, TrafficCountsAByteOnce) {
  const DeviceArray<uint8_t> src(64), dst(64);
  expect_traffic(64, 64, read_twice_kernel, 1, 64, src.data(), dst.data());
}

__global__ void count_kernel(unsigned* counter) {
  atomicAdd(counter, 1u);
}

TEST_F(EmulatorTest, AnAtomicReadsAndWrites) {
  const DeviceArray<unsigned> counter(4);
  expect_traffic(4, 4, count_kernel, 3, 32, counter.data() + 1);
}

/// Threads whose number is not a multiple of three copy nothing.
__global__ void copy_third_kernel(const uint4* src, uint4* dst) {
  SHARED(uint4, stage, [64]);
  kernels::cp_async_16(kernels::shared_address(&stage[threadIdx.x]), src + threadIdx.x, threadIdx.x % 3 == 0);
  kernels::cp_async_commit();
  kernels::cp_async_wait<0>();
  dst[threadIdx.x] = stage[threadIdx.x];
}

TEST_F(EmulatorTest, AnAsynchronousCopyOfNothingReadsNothing) {
  const DeviceArray<uint4> src(64), dst(64);
  expect_traffic(22 * 16, 64 * 16, copy_third_kernel, 1, 64, src.data(), dst.data());
}

}  // namespace
}  // namespace residuum::emulator
