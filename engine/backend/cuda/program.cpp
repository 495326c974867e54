#include "engine/backend/cuda/program.h"

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

}  // namespace

GraphExecHandle GraphProgram::capture() const {
  CaptureScope scope(device_.stream());
  for (const CudaLaunch* launch : launches_) launch->enqueue();
  const GraphHandle graph = scope.take();
  cudaGraphExec_t exec = nullptr;
  check_call(cudaGraphInstantiate(&exec, graph.get(), 0), "cudaGraphInstantiate", kPurpose);
  return GraphExecHandle(exec);
}

void GraphProgram::run(const StepParams& params) {
  if (launches_.empty()) return;
  if (!graph_) graph_ = capture();
  device_.set_step(params);
  check_call(cudaGraphLaunch(graph_.get(), device_.stream()), "cudaGraphLaunch", "to run a step");
}

}  // namespace residuum::cuda
