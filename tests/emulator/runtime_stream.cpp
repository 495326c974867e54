// Streams and events of the emulated runtime. A stream is a queue of tasks; an event is the recording it was
// last given. Tasks run when something waits, one at a time, from any stream whose head is not blocked.
#include <algorithm>

#include "kernels/launch.h"
#include "tests/emulator/runtime_state.h"

namespace residuum::emulator {
namespace {

bool ready(const CUstream_st* stream) {
  return !stream->tasks.empty() && (!stream->tasks.front().wait || stream->tasks.front().wait->done);
}

void run_head(CUstream_st* stream) {
  const Task task = std::move(stream->tasks.front());
  stream->tasks.pop_front();
  run_guarded(task.work);
  if (task.record) task.record->done = true;
}

bool known(const CUstream_st* stream) {
  const auto& streams = runtime().streams;
  return std::find(streams.begin(), streams.end(), stream) != streams.end();
}

cudaError_t captured(CUstream_st* stream, Task task) {
  Capture& capture = *stream->capture;
  if (capture.invalid) return finish(cudaErrorStreamCaptureInvalidated);
  if (task.wait) {
    stream->after.insert(stream->after.end(), task.wait->after.begin(), task.wait->after.end());
  } else if (task.record) {
    task.record->capture = stream->capture;
    task.record->after = stream->after;
  } else {
    capture.nodes.push_back({std::move(task.work), stream->after});
    stream->after = {capture.nodes.size() - 1};
  }
  return cudaSuccess;
}

cudaError_t wait_for(const std::function<bool()>& done) {
  run_until(done);
  return finish(runtime().sticky);
}

}  // namespace

void run_until(const std::function<bool()>& done) {
  while (!done()) {
    std::vector<CUstream_st*> heads;
    for (CUstream_st* stream : runtime().streams) {
      if (ready(stream)) heads.push_back(stream);
    }
    if (heads.empty()) return;
    run_head(heads[choose(heads.size())]);
  }
}

void run_all() {
  run_until([] { return false; });
}

size_t choose(size_t count) {
  Runtime& state = runtime();
  if (state.order == StreamOrder::kForward) return 0;
  if (state.order == StreamOrder::kReverse) return count - 1;
  state.random = state.random * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX generator
  return (state.random >> 33) % count;
}

bool capturing_anywhere() {
  const auto& streams = runtime().streams;
  return std::any_of(streams.begin(), streams.end(), [](const CUstream_st* stream) {
    return stream->capture && stream->capture->mode != cudaStreamCaptureModeRelaxed;
  });
}

void invalidate_captures() {
  for (CUstream_st* stream : runtime().streams) {
    if (stream->capture) stream->capture->invalid = true;
  }
}

cudaError_t forbid_capture() {
  if (!capturing_anywhere()) return cudaSuccess;
  invalidate_captures();
  return finish(cudaErrorStreamCaptureUnsupported);
}

cudaError_t submit(CUstream_st* stream, Task task) {
  if (stream == nullptr) {
    if (const cudaError_t error = forbid_capture()) return error;
    run_all();
    run_guarded(task.work);
    if (task.record) task.record->done = true;
    return finish(runtime().sticky);
  }
  if (!known(stream)) return finish(cudaErrorInvalidResourceHandle);
  if (stream->capture) return captured(stream, std::move(task));
  stream->tasks.push_back(std::move(task));
  return cudaSuccess;
}

void enqueue(CUstream_st* stream, std::function<void()> work) {
  cudaError_t error = enter("launch");
  if (error == cudaSuccess) error = submit(stream, {std::move(work), nullptr, nullptr});
  if (stream == nullptr && runtime().exception) drain();
  if (error != cudaSuccess) throw kernels::LaunchError(error, cudaGetErrorString(error));
}

}  // namespace residuum::emulator

using namespace residuum::emulator;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (const cudaError_t error = enter("cudaStreamCreateWithFlags")) return error;
  *stream = new CUstream_st;
  (*stream)->flags = flags;
  runtime().streams.push_back(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (const cudaError_t error = enter("cudaStreamDestroy")) return error;
  if (!known(stream)) return finish(cudaErrorInvalidResourceHandle);
  run_until([&] { return stream->tasks.empty(); });
  std::erase(runtime().streams, stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t error = enter("cudaStreamSynchronize")) return error;
  if (const cudaError_t error = forbid_capture()) return error;
  if (stream == nullptr) return wait_for([] { return false; });
  if (!known(stream)) return finish(cudaErrorInvalidResourceHandle);
  return wait_for([&] { return stream->tasks.empty(); });
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (const cudaError_t error = enter("cudaStreamQuery")) return error;
  if (const cudaError_t error = forbid_capture()) return error;
  if (!known(stream)) return finish(cudaErrorInvalidResourceHandle);
  return stream->tasks.empty() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
  if (const cudaError_t error = enter("cudaDeviceSynchronize")) return error;
  if (const cudaError_t error = forbid_capture()) return error;
  return wait_for([] { return false; });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (const cudaError_t error = enter("cudaEventCreateWithFlags")) return error;
  *event = new CUevent_st;
  runtime().events.insert(*event);
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (const cudaError_t error = enter("cudaEventDestroy")) return error;
  if (runtime().events.erase(event) == 0) return finish(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const cudaError_t error = enter("cudaEventRecord")) return error;
  if (!runtime().events.contains(event)) return finish(cudaErrorInvalidResourceHandle);
  const auto recording = std::make_shared<Recording>();
  const cudaError_t error = submit(stream, {nullptr, nullptr, recording});
  if (error == cudaSuccess) event->recording = recording;
  return error;
}

// An event that was never recorded is no reason to wait.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (const cudaError_t error = enter("cudaStreamWaitEvent")) return error;
  if (!runtime().events.contains(event) || !known(stream)) return finish(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Recording> recording = event->recording;
  if (!recording) return cudaSuccess;
  if (recording->capture && !stream->capture) stream->capture = recording->capture;  // joins the capture
  if (stream->capture != recording->capture) {
    invalidate_captures();
    return finish(recording->capture ? cudaErrorStreamCaptureMerge : cudaErrorStreamCaptureIsolation);
  }
  return submit(stream, {nullptr, recording, nullptr});
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const cudaError_t error = enter("cudaEventSynchronize")) return error;
  if (!runtime().events.contains(event)) return finish(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Recording> recording = event->recording;
  if (!recording) return cudaSuccess;
  if (recording->capture) {
    invalidate_captures();
    return finish(cudaErrorCapturedEvent);
  }
  return wait_for([&] { return recording->done; });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (const cudaError_t error = enter("cudaEventQuery")) return error;
  if (const cudaError_t error = forbid_capture()) return error;
  if (!runtime().events.contains(event)) return finish(cudaErrorInvalidResourceHandle);
  return !event->recording || event->recording->done ? cudaSuccess : cudaErrorNotReady;
}

// Nothing is timed here: a moment for every pair of completed events.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (const cudaError_t error = enter("cudaEventElapsedTime")) return error;
  for (cudaEvent_t event : {start, end}) {
    if (!runtime().events.contains(event) || !event->recording) return finish(cudaErrorInvalidResourceHandle);
    if (!event->recording->done) return cudaErrorNotReady;
  }
  *milliseconds = 1;
  return cudaSuccess;
}

}  // extern "C"
