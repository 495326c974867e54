#include "engine/backend/cuda/device/device.h"

#include <optional>

#include "engine/backend/cuda/device/staging.h"
#include "engine/core/check.h"

namespace residuum::cuda {
namespace {

constexpr int kOldestMajor = 8;  ///< bf16 tensor cores and cp.async came with compute capability 8.0

/// 13000 -> "13.0".
std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

int driver_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

int runtime_version() {
  int version = 0;
  check_call(cudaRuntimeGetVersion(&version), "cudaRuntimeGetVersion", "to ask for its version");
  return version;
}

/// How many GPUs there are, at least one.
int device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  const int driver = driver_version();
  check(driver > 0, ErrorKind::kDevice, "device 'cuda': this machine has no NVIDIA driver");
  check(status != cudaErrorInsufficientDriver, ErrorKind::kDevice,
        "device 'cuda': the NVIDIA driver supports CUDA {}, this program needs CUDA {} or later",
        version_text(driver), version_text(runtime_version()));
  check(status != cudaErrorNoDevice && (status != cudaSuccess || count > 0), ErrorKind::kDevice,
        "device 'cuda': this machine has an NVIDIA driver but no GPU that this process may use");
  check_call(status, "cudaGetDeviceCount", "to look for a GPU");
  return count;
}

cudaDeviceProp usable_device(int ordinal) {
  const int count = device_count();
  check(ordinal >= 0 && ordinal < count, ErrorKind::kDevice,
        "device 'cuda': there is no GPU {}, this machine has {} (counted from 0)", ordinal, count);
  cudaDeviceProp properties{};
  check_call(cudaGetDeviceProperties(&properties, ordinal), "cudaGetDeviceProperties",
             fmt::format("to ask what GPU {} is", ordinal));
  check(properties.major >= kOldestMajor, ErrorKind::kDevice,
        "device 'cuda': GPU {} is a {} of compute capability {}.{}, needed is {}.0 or later", ordinal,
        properties.name, properties.major, properties.minor, kOldestMajor);
  check_call(cudaSetDevice(ordinal), "cudaSetDevice", fmt::format("to use GPU {}", ordinal));
  return properties;
}

class DeviceMemory : public Memory {
 public:
  DeviceMemory(DeviceBlock block, size_t bytes) : block_(std::move(block)), bytes_(bytes) {}
  std::byte* data() override { return static_cast<std::byte*>(block_.get()); }
  size_t bytes() const override { return bytes_; }

 private:
  DeviceBlock block_;
  size_t bytes_;
};

class Gpu : public Device {
 public:
  explicit Gpu(int ordinal)
      : properties_(usable_device(ordinal)),
        stream_(make_stream()),
        side_(make_stream()),
        uploader_(stream_.get()),
        downloader_(stream_.get()),
        step_values_(make_device_block(sizeof(kernels::StepValues))) {}
  ~Gpu() override { cudaStreamSynchronize(stream_.get()); }
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  std::string describe() const override {
    return fmt::format("{}, sm_{}{}, {} multiprocessors, {:.3g} GiB, driver {}, runtime {}", properties_.name,
                       properties_.major, properties_.minor, properties_.multiProcessorCount,
                       static_cast<double>(properties_.totalGlobalMem) / (1 << 30),
                       version_text(driver_version()), version_text(runtime_version()));
  }

  std::string id() const override {
    std::string digits;
    for (const char byte : properties_.uuid.bytes) {
      digits += fmt::format("{:02x}", static_cast<unsigned char>(byte));
    }
    return digits;
  }

  std::unique_ptr<Memory> allocate(size_t bytes) override {
    if (bytes == 0) return std::make_unique<DeviceMemory>(DeviceBlock(), 0);
    DeviceBlock block = make_device_block(bytes);
    check_call(cudaMemsetAsync(block.get(), 0, bytes, stream_.get()), "cudaMemsetAsync",
               "to clear fresh memory");
    return std::make_unique<DeviceMemory>(std::move(block), bytes);
  }

  size_t free_bytes() const override {
    size_t free = 0, total = 0;
    check_call(cudaMemGetInfo(&free, &total), "cudaMemGetInfo", "to ask for the free memory");
    return free;
  }

  void copy_to_device(std::byte* dst, const void* src, size_t bytes) override {
    copy_and_wait(dst, src, bytes, cudaMemcpyHostToDevice);
  }
  void copy_to_host(void* dst, const std::byte* src, size_t bytes) override {
    copy_and_wait(dst, src, bytes, cudaMemcpyDeviceToHost);
  }
  void upload(std::byte* dst, const void* src, size_t bytes) override { uploader_.upload(dst, src, bytes); }
  std::unique_ptr<Download> download(const std::byte* src, size_t bytes) override {
    return downloader_.download(src, bytes);
  }

  void copy(std::byte* dst, const std::byte* src, size_t bytes) override {
    if (bytes == 0) return;
    check_call(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream_.get()), "cudaMemcpyAsync",
               fmt::format("to copy {} bytes on the GPU", bytes));
  }

  kernels::Stream stream(int index) const override { return index == 0 ? stream_.get() : side_.get(); }
  const kernels::StepValues* step_values() const override {
    return static_cast<const kernels::StepValues*>(step_values_.get());
  }
  void set_step(const StepParams& params) override {
    if (step_ == params) return;
    const kernels::StepValues values{params.seed, params.step, params.micro_step, params.learning_rate};
    upload(static_cast<std::byte*>(step_values_.get()), &values, sizeof(values));
    step_ = params;
  }
  void synchronize() override {
    check_call(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize", "to wait for the GPU");
  }
  size_t cache_bytes() const override { return static_cast<size_t>(properties_.l2CacheSize); }

 private:
  void copy_and_wait(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) return;
    check_call(cudaMemcpyAsync(dst, src, bytes, kind, stream_.get()), "cudaMemcpyAsync",
               fmt::format("to copy {} bytes", bytes));
    synchronize();
  }

  cudaDeviceProp properties_;
  StreamHandle stream_, side_;
  Uploader uploader_;
  Downloader downloader_;
  DeviceBlock step_values_;
  std::optional<StepParams> step_;  ///< what `step_values_` holds
};

}  // namespace

std::unique_ptr<Device> open_device(int ordinal) {
  return std::make_unique<Gpu>(ordinal);
}

}  // namespace residuum::cuda
