#include "engine/backend/cuda/cuda_backend.h"

#include "engine/backend/cuda/autotune/step_choice.h"
#include "engine/backend/cuda/device/event_timer.h"
#include "engine/backend/cuda/device/side_queue.h"
#include "engine/backend/cuda/fusion/fusion.h"
#include "engine/backend/cuda/fusion/fusion_conv.h"
#include "engine/backend/cuda/launch/cuda_launch.h"
#include "engine/backend/cuda/launch/program.h"
#include "engine/backend/cuda/steps/step_cost.h"
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
      : device_(std::move(device)),
        choice_(device_.get(), options),
        fusions_off_(choice_.fusions_off()),
        dependent_launch_(options.dependent_launch) {}

  std::string name() const override { return "cuda"; }
  std::string describe() const override {
    if (!device_) return "CUDA, for plans only: no GPU is used";
    return device_->describe() + choice_.describe();
  }
  std::unique_ptr<Memory> allocate(size_t bytes) override {
    try {
      return device().allocate(bytes);
    } catch (const OutOfMemory&) {
      choice_.stop_measuring();
      throw;
    }
  }
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
  void copy(std::byte* dst, const std::byte* src, size_t bytes) override { device().copy(dst, src, bytes); }
  std::vector<Group> groups(const Graph& graph) const override { return cuda_groups(graph, fusions_off_); }
  bool absorbs(const Graph& graph, NodeId reader, size_t input) const override {
    return cuda::absorbs(graph, reader, input, fusions_off_);
  }
  int filter_layers(const Graph& graph, NodeId filter) const override {
    return cuda::filter_layers(graph, filter, fusions_off_);
  }
  std::vector<FusionKind> fusions() const override { return fusion_kinds(); }
  std::unique_ptr<Launch> prepare(const Graph& graph, const Group& group) override {
    Candidate taken = choice_.steps_of(graph, group);
    const Cost cost = cost_of(graph, group, taken.steps);
    return std::make_unique<CudaLaunch>(device_.get(), launch_name(graph, group), std::move(taken.steps),
                                        cost, std::move(taken.passed), std::move(taken.name));
  }
  int streams() const override { return kStreams; }
  std::unique_ptr<Program> record(std::vector<RecordedLaunch> launches) override {
    return std::make_unique<GraphProgram>(device(), std::move(launches), dependent_launch_);
  }
  bool wants_weight_copies() const override { return true; }
  std::unique_ptr<SideQueue> side_queue() override { return make_side_queue(device()); }
  void synchronize() override { device().synchronize(); }
  std::unique_ptr<Timer> make_timer() override { return make_event_timer(device()); }
  size_t cache_bytes() const override { return device_ ? device().cache_bytes() : 0; }

 private:
  Device& device() const {
    check(device_ != nullptr, ErrorKind::kDevice, "device 'cuda' was opened for plans only: nothing can run");
    return *device_;
  }

  std::unique_ptr<Device> device_;
  StepChoice choice_;
  std::set<std::string> fusions_off_;
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
