// Stream capture and graphs of the emulated runtime: a graph is a list of work with the nodes each comes
// after, run at every launch in an order that the stream order chooses among those ready.
#include <algorithm>

#include "tests/emulator/runtime_state.h"

namespace residuum::emulator {
namespace {

void run_graph(const GraphNodes& nodes) {
  std::vector<bool> done(nodes.size());
  for (size_t count = 0; count < nodes.size(); ++count) {
    std::vector<size_t> ready;
    for (size_t i = 0; i < nodes.size(); ++i) {
      const auto finished = [&](size_t before) { return done[before]; };
      if (!done[i] && std::all_of(nodes[i].after.begin(), nodes[i].after.end(), finished)) ready.push_back(i);
    }
    const size_t next = ready.at(choose(ready.size()));
    nodes[next].work();
    done[next] = true;
  }
}

/// Whether every node that nothing comes after is one the origin stream has waited for.
bool joined(const CUstream_st& origin) {
  const GraphNodes& nodes = origin.capture->nodes;
  std::vector<bool> reached(nodes.size());
  std::vector<size_t> todo = origin.after;
  while (!todo.empty()) {
    const size_t i = todo.back();
    todo.pop_back();
    if (reached[i]) continue;
    reached[i] = true;
    todo.insert(todo.end(), nodes[i].after.begin(), nodes[i].after.end());
  }
  return std::all_of(reached.begin(), reached.end(), [](bool r) { return r; });
}

void leave(const std::shared_ptr<Capture>& capture) {
  for (CUstream_st* stream : runtime().streams) {
    if (stream->capture != capture) continue;
    stream->capture.reset();
    stream->after.clear();
  }
}

}  // namespace
}  // namespace residuum::emulator

using namespace residuum::emulator;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (const cudaError_t error = enter("cudaStreamBeginCapture")) return error;
  if (stream == nullptr) return finish(cudaErrorStreamCaptureUnsupported);
  if (stream->capture) return finish(cudaErrorIllegalState);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  stream->capture->mode = mode;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  const cudaError_t entered = enter("cudaStreamEndCapture");
  if (stream == nullptr || !stream->capture) return finish(cudaErrorIllegalState);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (capture->origin != stream) {
    capture->invalid = true;
    return finish(cudaErrorStreamCaptureUnmatched);
  }
  const bool whole = joined(*stream);
  leave(capture);
  if (entered != cudaSuccess) return entered;
  if (capture->invalid) return finish(cudaErrorStreamCaptureInvalidated);
  if (!whole) return finish(cudaErrorStreamCaptureUnjoined);
  *graph = new CUgraph_st{std::move(capture->nodes)};
  runtime().graphs.insert(*graph);
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  if (const cudaError_t error = enter("cudaStreamIsCapturing")) return error;
  const Capture* const capture = stream == nullptr ? nullptr : stream->capture.get();
  *status = capture == nullptr ? cudaStreamCaptureStatusNone
            : capture->invalid ? cudaStreamCaptureStatusInvalidated
                               : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  if (const cudaError_t error = enter("cudaGraphGetNodes")) return error;
  if (!runtime().graphs.contains(graph) || nodes != nullptr) return finish(cudaErrorInvalidValue);
  *count = graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (const cudaError_t error = enter("cudaGraphInstantiate")) return error;
  if (!runtime().graphs.contains(graph)) return finish(cudaErrorInvalidValue);
  *exec = new CUgraphExec_st{std::make_shared<const GraphNodes>(graph->nodes)};
  runtime().execs.insert(*exec);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (const cudaError_t error = enter("cudaGraphLaunch")) return error;
  if (!runtime().execs.contains(exec)) return finish(cudaErrorInvalidValue);
  return submit(stream, {[nodes = exec->nodes] { run_graph(*nodes); }, nullptr, nullptr});
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (const cudaError_t error = enter("cudaGraphDestroy")) return error;
  if (runtime().graphs.erase(graph) == 0) return finish(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  if (const cudaError_t error = enter("cudaGraphExecDestroy")) return error;
  if (runtime().execs.erase(exec) == 0) return finish(cudaErrorInvalidValue);
  delete exec;
  return cudaSuccess;
}

}  // extern "C"
