// Memory on the CUDA device for tests of launchers, through the runtime's API alone, so that it serves the
// emulated runtime and a real one. Invariant: the bytes start as 0xFF (NaN), and so does a guard behind them.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "engine/core/check.h"

namespace residuum {

inline void check_cuda(cudaError_t status, const char* what) {
  check(status == cudaSuccess, ErrorKind::kDevice, "{}: {}", what, cudaGetErrorString(status));
}

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count) {
    void* memory = nullptr;
    check_cuda(cudaMalloc(&memory, bytes() + kGuardBytes), "cudaMalloc");
    data_ = static_cast<T*>(memory);
    fill();
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { upload(values); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* data() const { return data_; }
  size_t size() const { return count_; }

  /// 0xFF everywhere.
  void fill() { check_cuda(cudaMemset(data_, 0xFF, bytes() + kGuardBytes), "cudaMemset"); }
  void upload(const std::vector<T>& values) {
    check(values.size() == count_, ErrorKind::kInternal, "{} values for {} places", values.size(), count_);
    check_cuda(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  std::vector<T> download() const {
    std::vector<T> values(count_);
    check_cuda(cudaMemcpy(values.data(), data_, bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return values;
  }
  /// False when something was written behind the values.
  bool guard_intact() const {
    std::vector<std::byte> guard(kGuardBytes);
    const std::byte* const behind = reinterpret_cast<const std::byte*>(data_) + bytes();
    check_cuda(cudaMemcpy(guard.data(), behind, kGuardBytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return std::all_of(guard.begin(), guard.end(), [](std::byte b) { return b == std::byte{0xFF}; });
  }

 private:
  static constexpr size_t kGuardBytes = 256;
  size_t bytes() const { return count_ * sizeof(T); }

  T* data_ = nullptr;
  size_t count_ = 0;
};

}  // namespace residuum
