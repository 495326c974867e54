#include "engine/backend/cuda/cuda_backend.h"

#include "engine/backend/cuda/cuda_launch.h"
#include "engine/backend/cuda/program.h"
#include "engine/core/check.h"

namespace residuum::cuda {
namespace {

/// "layer1.0.conv1 conv ... layer1.0.relu relu".
std::string launch_name(const Graph& graph, const Group& group) {
  const auto text = [&](NodeId id) {
    return fmt::format("{} {}", graph.node(id).name, op_name(graph.node(id).op));
  };
  const std::string first = text(group.nodes.front());
  return group.nodes.size() == 1 ? first : first + " ... " + text(group.nodes.back());
}

class CudaBackend : public Backend {
 public:
  /// Without a device: for plans only.
  CudaBackend(std::unique_ptr<Device> device, const BackendOptions& options)
      : device_(std::move(device)), dependent_launch_(options.dependent_launch) {
    options_.f32_math = options.tf32 ? kernels::F32Math::kTf32 : kernels::F32Math::kTf32x3;
    if (options.cublas && device_) cublas_ = open_cublas(*device_);
    options_.cublas = cublas_.get();
  }

  std::string name() const override { return "cuda"; }
  std::string describe() const override {
    if (!device_) return "CUDA, for plans only: no GPU is used";
    return cublas_ ? fmt::format("{}, {}", device_->describe(), cublas_->version()) : device_->describe();
  }
  std::unique_ptr<Memory> allocate(size_t bytes) override { return device().allocate(bytes); }
  size_t free_bytes() const override { return device().free_bytes(); }
  void copy_to_device(std::byte* dst, const void* src, size_t bytes) override {
    device().copy_to_device(dst, src, bytes);
  }
  void copy_to_host(void* dst, const std::byte* src, size_t bytes) override {
    device().copy_to_host(dst, src, bytes);
  }
  void upload(std::byte* dst, const void* src, size_t bytes) override { device().upload(dst, src, bytes); }
  std::unique_ptr<Download> download(const std::byte* src, size_t bytes) override {
    return device().download(src, bytes);
  }
  bool joins(const Graph& graph, std::span<const NodeId> group, NodeId next) const override {
    return cuda::joins(graph, group, next);
  }
  std::unique_ptr<Launch> prepare(const Graph& graph, const Group& group) override {
    return std::make_unique<CudaLaunch>(device_.get(), launch_name(graph, group),
                                        make_steps(graph, group, options_));
  }
  int streams() const override { return kStreams; }
  std::unique_ptr<Program> record(std::vector<RecordedLaunch> launches) override {
    return std::make_unique<GraphProgram>(device(), std::move(launches), dependent_launch_);
  }
  bool wants_weight_copies() const override { return true; }
  void synchronize() override { device().synchronize(); }

 private:
  Device& device() const {
    check(device_ != nullptr, ErrorKind::kDevice, "device 'cuda' was opened for plans only: nothing can run");
    return *device_;
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<Cublas> cublas_;
  StepOptions options_;
  bool dependent_launch_;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options) {
  return std::make_unique<CudaBackend>(open_device(options.ordinal), options);
}

std::unique_ptr<Backend> make_cuda_planning_backend(const BackendOptions& options) {
  return std::make_unique<CudaBackend>(nullptr, options);
}

}  // namespace residuum::cuda
