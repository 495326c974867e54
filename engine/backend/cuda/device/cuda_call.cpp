#include "engine/backend/cuda/device/cuda_call.h"

#include "engine/backend/backend.h"
#include "engine/core/check.h"

namespace residuum::cuda {

bool breaks_context(cudaError_t status) {
  switch (status) {  // "the process must be terminated and relaunched", say their descriptions
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
      return true;
    default:
      return false;
  }
}

void check_call(cudaError_t status, std::string_view call, std::string_view purpose) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // what was reported is not reported again by the next kernel launch
  fail(ErrorKind::kDevice, "{} failed {}: {}, {}{}", call, purpose, cudaGetErrorName(status),
       cudaGetErrorString(status),
       breaks_context(status) ? "; the GPU can no longer be used by this process" : "");
}

StreamHandle make_stream() {
  cudaStream_t stream = nullptr;
  check_call(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags",
             "to make a stream");
  return StreamHandle(stream);
}

EventHandle make_event() {
  cudaEvent_t event = nullptr;
  check_call(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags",
             "to make an event");
  return EventHandle(event);
}

EventHandle make_timed_event() {
  cudaEvent_t event = nullptr;
  check_call(cudaEventCreate(&event), "cudaEventCreate", "to measure time");
  return EventHandle(event);
}

DeviceBlock make_device_block(size_t bytes) {
  void* address = nullptr;
  const cudaError_t status = cudaMalloc(&address, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    check_call(cudaMemGetInfo(&free, &total), "cudaMemGetInfo", "to ask for the free memory");
    throw OutOfMemory(
        fmt::format("the GPU cannot give {} bytes of memory; {} of {} are free", bytes, free, total));
  }
  check_call(status, "cudaMalloc", fmt::format("to allocate {} bytes", bytes));
  return DeviceBlock(address);
}

PinnedBlock make_pinned_block(size_t bytes) {
  void* address = nullptr;
  check_call(cudaMallocHost(&address, bytes), "cudaMallocHost",
             fmt::format("to allocate {} bytes of pinned memory", bytes));
  return PinnedBlock(address);
}

}  // namespace residuum::cuda
