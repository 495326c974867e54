// Checked calls of the CUDA runtime and owners of what it hands out. A failure is Error(kDevice) with the
// call, the runtime's name for the error and what the call was for; releasing never throws.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string_view>
#include <utility>

namespace residuum::cuda {

/// Throws Error(kDevice) unless `status` is cudaSuccess; `purpose` ends the sentence "cudaX failed ...".
void check_call(cudaError_t status, std::string_view call, std::string_view purpose);

/// Whether nothing works any more in this process after such an error.
bool breaks_context(cudaError_t status);

/// Sole owner of a runtime object; empty when moved from.
template <typename T, cudaError_t (*destroy)(T)>
class Handle {
 public:
  Handle() = default;
  explicit Handle(T object) : object_(object) {}
  Handle(Handle&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Handle() {
    if (object_ != nullptr) destroy(object_);
  }

  T get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T object_ = nullptr;
};

using StreamHandle = Handle<cudaStream_t, cudaStreamDestroy>;
using EventHandle = Handle<cudaEvent_t, cudaEventDestroy>;
using GraphHandle = Handle<cudaGraph_t, cudaGraphDestroy>;
using GraphExecHandle = Handle<cudaGraphExec_t, cudaGraphExecDestroy>;
using DeviceBlock = Handle<void*, cudaFree>;
using PinnedBlock = Handle<void*, cudaFreeHost>;

/// A stream that never waits for the null stream.
StreamHandle make_stream();
/// An event without time stamp.
EventHandle make_event();
/// An event that keeps the time at which it happened.
EventHandle make_timed_event();
/// Content undefined; throws OutOfMemory naming `bytes` and those free.
DeviceBlock make_device_block(size_t bytes);
PinnedBlock make_pinned_block(size_t bytes);

}  // namespace residuum::cuda
