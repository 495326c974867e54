#include "engine/backend/cuda/cuda_backend.h"

#include "engine/backend/cuda/cuda_launch.h"
#include "engine/backend/cuda/fusion.h"
#include "engine/backend/cuda/fusion_conv.h"
#include "engine/backend/cuda/program.h"
#include "engine/backend/cuda/step_cost.h"
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

Cost cost_of(const Graph& graph, const Group& group, const std::vector<Step>& steps) {
  Cost cost;
  for (const Step& step : steps) cost += step_cost(graph, group, step);
  for (const NodeId id : group.nodes) cost.flops += node_flops(graph, graph.node(id));
  return cost;
}

class CudaBackend : public Backend {
 public:
  /// Without a device: for plans only.
  CudaBackend(std::unique_ptr<Device> device, const BackendOptions& options)
      : device_(std::move(device)), dependent_launch_(options.dependent_launch) {
    options_.f32_math = options.tf32 ? kernels::F32Math::kTf32 : kernels::F32Math::kTf32x3;
    if (options.cublas && device_) cublas_ = open_cublas(*device_);
    options_.cublas = cublas_.get();
    options_.fusions_off = options.fusions_off;
    if (options.cublas) options_.fusions_off.insert("linear_bias");  // cuBLAS adds none
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
  std::vector<Group> groups(const Graph& graph) const override {
    return cuda_groups(graph, options_.fusions_off);
  }
  bool absorbs(const Graph& graph, NodeId reader, size_t input) const override {
    return cuda::absorbs(graph, reader, input, options_.fusions_off);
  }
  std::vector<FusionKind> fusions() const override { return fusion_kinds(); }
  std::unique_ptr<Launch> prepare(const Graph& graph, const Group& group) override {
    std::vector<Step> steps = make_steps(graph, group, options_);
    const Cost cost = cost_of(graph, group, steps);
    return std::make_unique<CudaLaunch>(device_.get(), launch_name(graph, group), std::move(steps), cost);
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
