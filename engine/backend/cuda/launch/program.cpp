#include "engine/backend/cuda/launch/program.h"

#include "kernels/dependent_launch.h"

namespace residuum::cuda {
namespace {

constexpr const char* kPurpose = "to record a step";

/// Ends the capture of a stream in any case; what was captured is dropped unless taken.
class CaptureScope {
 public:
  explicit CaptureScope(cudaStream_t stream) : stream_(stream) {
    // Thread local: other threads of the process may allocate meanwhile, this one does not.
    check_call(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture",
               kPurpose);
  }
  ~CaptureScope() {
    if (stream_ == nullptr) return;
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(stream_, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
  }
  CaptureScope(const CaptureScope&) = delete;
  CaptureScope& operator=(const CaptureScope&) = delete;

  GraphHandle take() {
    cudaGraph_t graph = nullptr;
    check_call(cudaStreamEndCapture(std::exchange(stream_, nullptr), &graph), "cudaStreamEndCapture",
               kPurpose);
    return GraphHandle(graph);
  }

 private:
  cudaStream_t stream_;
};

/// Makes launches dependent ones while it lives.
class DependentScope {
 public:
  explicit DependentScope(bool on) { launches().use(on); }
  ~DependentScope() { launches().use(false); }
  DependentScope(const DependentScope&) = delete;
  DependentScope& operator=(const DependentScope&) = delete;

  static kernels::DependentLaunches& launches() { return kernels::DependentLaunches::of_this_thread(); }
};

/// Puts launches on the device's streams in the order of a program; makes its events beforehand.
class Recorder {
 public:
  Recorder(Device& device, const std::vector<RecordedLaunch>& launches)
      : device_(device), launches_(launches), done_(launches.size()), joined_(kStreams) {
    for (const RecordedLaunch& recorded : launches) {
      if (recorded.wait && !done_[*recorded.wait]) done_[*recorded.wait] = make_event();
      EventHandle& joined = joined_[static_cast<size_t>(recorded.stream)];
      if (recorded.stream != 0 && !joined) joined = make_event();
    }
  }

  void enqueue(size_t i) {
    const RecordedLaunch& recorded = launches_[i];
    if (recorded.wait) wait(recorded.stream, done_[*recorded.wait]);
    dynamic_cast<CudaLaunch&>(*recorded.launch).enqueue(device_.stream(recorded.stream));
    if (done_[i]) mark(recorded.stream, done_[i]);
  }
  /// Makes stream 0 wait for the streams in use; a capture ends like that.
  void join() {
    for (int stream = 1; stream < kStreams; ++stream) {
      const EventHandle& joined = joined_[static_cast<size_t>(stream)];
      if (!joined) continue;
      mark(stream, joined);
      wait(0, joined);
    }
  }

 private:
  void mark(int stream, const EventHandle& event) const {
    check_call(cudaEventRecord(event.get(), device_.stream(stream)), "cudaEventRecord", kPurpose);
  }
  /// The next launch then has two predecessors, and programmatic edges are for one: it is an ordinary one.
  void wait(int stream, const EventHandle& event) const {
    check_call(cudaStreamWaitEvent(device_.stream(stream), event.get(), 0), "cudaStreamWaitEvent", kPurpose);
    DependentScope::launches().interrupt(device_.stream(stream));
  }

  Device& device_;
  const std::vector<RecordedLaunch>& launches_;
  std::vector<EventHandle> done_;    ///< of the launches that others wait for
  std::vector<EventHandle> joined_;  ///< of the streams in use but stream 0
};

}  // namespace

GraphExecHandle GraphProgram::capture() const {
  Recorder recorder(device_, launches_);  // its events outlive the capture
  CaptureScope scope(device_.stream(0));
  const DependentScope dependent(dependent_);
  for (size_t i = 0; i < launches_.size(); ++i) recorder.enqueue(i);
  recorder.join();
  const GraphHandle graph = scope.take();
  cudaGraphExec_t exec = nullptr;
  check_call(cudaGraphInstantiate(&exec, graph.get(), 0), "cudaGraphInstantiate", kPurpose);
  return GraphExecHandle(exec);
}

void GraphProgram::run(const StepParams& params) {
  if (launches_.empty()) return;
  if (!graph_) graph_ = capture();
  device_.set_step(params);
  check_call(cudaGraphLaunch(graph_.get(), device_.stream(0)), "cudaGraphLaunch", "to run a step");
}

}  // namespace residuum::cuda
