#include "engine/backend/cuda/device/side_queue.h"

#include <deque>

#include "engine/backend/cuda/device/cuda_call.h"
#include "engine/core/check.h"
#include "kernels/dependent_launch.h"

namespace residuum::cuda {
namespace {

constexpr const char* kPurpose = "to order communication and launches";

EventHandle make_timed_event() {
  cudaEvent_t event = nullptr;
  check_call(cudaEventCreate(&event), "cudaEventCreate", kPurpose);
  return EventHandle(event);
}

class CudaSideQueue : public SideQueue {
 public:
  explicit CudaSideQueue(Device& device) : device_(device), stream_(make_stream()), launched_(make_event()) {}
  ~CudaSideQueue() override { cudaStreamSynchronize(stream_.get()); }
  CudaSideQueue(const CudaSideQueue&) = delete;
  CudaSideQueue& operator=(const CudaSideQueue&) = delete;

  void after_launches() override {
    record(launched_, device_.stream(0));
    wait(stream_.get(), launched_);
  }
  void before_launches() override {
    Wait& now = waits_.emplace_back(Wait{make_timed_event(), make_timed_event()});
    record(now.ready, device_.stream(0));
    record(now.done, stream_.get());
    wait(device_.stream(0), now.done);
    // The next launch has two predecessors, and programmatic edges are for one.
    kernels::DependentLaunches::of_this_thread().interrupt(device_.stream(0));
    collect();
  }
  void* stream() override { return stream_.get(); }
  std::string device_id() const override { return device_.id(); }
  void copy(std::byte* dst, const std::byte* src, size_t bytes) override {
    check_call(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream_.get()), "cudaMemcpyAsync",
               "to gather what is communicated");
  }
  void add(float* dst, const float* src, size_t count) override {
    // It comes after work of a library, and programmatic edges are for the engine's own kernels.
    kernels::DependentLaunches::of_this_thread().interrupt(stream_.get());
    try {
      kernels::add({static_cast<int64_t>(count), 1, kernels::Element::kF32}, dst, src, dst, stream_.get());
    } catch (const kernels::LaunchError& error) {
      fail(ErrorKind::kDevice, "a sum over ranks could not be added: {}", error.what());
    }
  }
  bool is_done() override {
    const cudaError_t status = cudaStreamQuery(stream_.get());
    if (status == cudaErrorNotReady) return false;
    check_call(status, "cudaStreamQuery", kPurpose);
    return true;
  }
  double waited_seconds() override {
    collect();
    return waited_;
  }

 private:
  /// Stream 0 was ready to go on; the queue was done.
  struct Wait {
    EventHandle ready, done;
  };

  static void record(const EventHandle& event, cudaStream_t stream) {
    check_call(cudaEventRecord(event.get(), stream), "cudaEventRecord", kPurpose);
  }
  static void wait(cudaStream_t stream, const EventHandle& event) {
    check_call(cudaStreamWaitEvent(stream, event.get(), 0), "cudaStreamWaitEvent", kPurpose);
  }

  /// Adds the waits that are over.
  void collect() {
    while (!waits_.empty()) {
      const Wait& wait = waits_.front();
      for (const EventHandle* event : {&wait.ready, &wait.done}) {
        const cudaError_t status = cudaEventQuery(event->get());
        if (status == cudaErrorNotReady) return;
        check_call(status, "cudaEventQuery", kPurpose);
      }
      float milliseconds = 0;  // negative when the queue was done first
      check_call(cudaEventElapsedTime(&milliseconds, wait.ready.get(), wait.done.get()),
                 "cudaEventElapsedTime", kPurpose);
      if (milliseconds > 0) waited_ += static_cast<double>(milliseconds) / 1000;
      waits_.pop_front();
    }
  }

  Device& device_;
  StreamHandle stream_;
  EventHandle launched_;
  std::deque<Wait> waits_;
  double waited_ = 0;
};

}  // namespace

std::unique_ptr<SideQueue> make_side_queue(Device& device) {
  return std::make_unique<CudaSideQueue>(device);
}

}  // namespace residuum::cuda
