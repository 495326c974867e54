// State of the emulated runtime, what tests set in it, its one device and its errors.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <utility>

#include "tests/emulator/runtime_state.h"

namespace residuum::emulator {
namespace {

/// After these, nothing works any more in a process (the runtime's documentation of each says so).
bool breaks_context(cudaError_t error) {
  switch (error) {
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

/// Functions that need neither a driver nor a device.
bool works_without_device(const char* function) {
  constexpr const char* kNames[] = {"cudaDriverGetVersion", "cudaRuntimeGetVersion"};
  return std::any_of(std::begin(kNames), std::end(kNames),
                     [&](const char* name) { return std::strcmp(name, function) == 0; });
}

void read_environment(Runtime& state) {
  const char* const order = std::getenv("RESIDUUM_EMULATOR_STREAMS");
  if (order == nullptr || std::strcmp(order, "forward") == 0) return;
  state.order = std::strcmp(order, "reverse") == 0 ? StreamOrder::kReverse : StreamOrder::kRandom;
  state.random = std::strtoull(order, nullptr, 10);
}

}  // namespace

Runtime& runtime() {
  static Runtime state = [] {
    Runtime fresh;
    read_environment(fresh);
    return fresh;
  }();
  return state;
}

cudaError_t enter(const char* function) {
  Runtime& state = runtime();
  const int number = ++state.calls[function];
  if (works_without_device(function)) return cudaSuccess;
  if (state.driver != cudaSuccess) return finish(state.driver);
  if (state.device_count == 0) return finish(cudaErrorNoDevice);
  if (state.sticky != cudaSuccess) return finish(state.sticky);
  const auto failures = state.failures.find(function);
  if (failures == state.failures.end() || !failures->second.contains(number)) return cudaSuccess;
  const cudaError_t error = failures->second.at(number);
  if (breaks_context(error)) state.sticky = error;
  return finish(error);
}

cudaError_t finish(cudaError_t error) {
  if (error != cudaSuccess) runtime().last = error;
  return error;
}

void run_guarded(const Work& work) {
  Runtime& state = runtime();
  if (state.sticky != cudaSuccess || !work) return;
  try {
    work();
  } catch (const std::exception& error) {
    state.sticky = cudaErrorLaunchFailure;
    state.exception = std::current_exception();
    state.fault = std::string("unspecified launch failure: ") + error.what();
  }
}

void drain() {
  run_all();
  Runtime& state = runtime();
  if (!state.exception) return;
  const std::exception_ptr exception = std::exchange(state.exception, nullptr);
  state.sticky = state.last = cudaSuccess;
  std::rethrow_exception(exception);
}

void set_stream_order(StreamOrder order, uint64_t seed) {
  runtime().order = order;
  runtime().random = seed;
}

void reset() {
  Runtime& state = runtime();
  for (CUstream_st* stream : state.streams) delete stream;
  for (CUevent_st* event : state.events) delete event;
  for (CUgraph_st* graph : state.graphs) delete graph;
  for (CUgraphExec_st* exec : state.execs) delete exec;
  for (const auto* blocks : {&state.device_blocks, &state.pinned_blocks}) {
    for (const auto& [block, bytes] : *blocks) std::free(const_cast<std::byte*>(block));
  }
  state = {};
  read_environment(state);
}

void set_memory(size_t bytes) {
  runtime().memory = bytes;
}
void set_device_count(int count) {
  runtime().device_count = count;
}
void set_driver(cudaError_t status, int version) {
  runtime().driver = status;
  runtime().driver_version = version;
}
void set_compute_capability(int major, int minor) {
  runtime().major = major;
  runtime().minor = minor;
}
void fail_call(const std::string& function, int n, cudaError_t error) {
  runtime().failures[function][runtime().calls[function] + n] = error;
}
int call_count(const std::string& function) {
  return runtime().calls[function];
}
size_t device_bytes() {
  return total_bytes(runtime().device_blocks);
}
size_t pinned_bytes() {
  return total_bytes(runtime().pinned_blocks);
}
int live_handles() {
  const Runtime& state = runtime();
  return static_cast<int>(state.streams.size() + state.events.size() + state.graphs.size() +
                          state.execs.size());
}

}  // namespace residuum::emulator

using namespace residuum::emulator;

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  if (const cudaError_t error = enter("cudaGetDeviceCount")) return error;
  *count = runtime().device_count;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* prop, int device) {
  if (const cudaError_t error = enter("cudaGetDeviceProperties")) return error;
  if (device < 0 || device >= runtime().device_count) return finish(cudaErrorInvalidDevice);
  *prop = {};
  std::strcpy(prop->name, "Emulated GPU");
  prop->major = runtime().major;
  prop->minor = runtime().minor;
  prop->multiProcessorCount = 132;
  prop->totalGlobalMem = runtime().memory;
  prop->sharedMemPerBlock = 48 * 1024;
  prop->sharedMemPerBlockOptin = 227 * 1024;
  prop->maxThreadsPerBlock = 1024;
  prop->warpSize = 32;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (const cudaError_t error = enter("cudaSetDevice")) return error;
  return finish(device < 0 || device >= runtime().device_count ? cudaErrorInvalidDevice : cudaSuccess);
}

cudaError_t cudaDriverGetVersion(int* version) {
  if (const cudaError_t error = enter("cudaDriverGetVersion")) return error;
  *version = runtime().driver_version;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  if (const cudaError_t error = enter("cudaRuntimeGetVersion")) return error;
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  Runtime& state = runtime();
  const cudaError_t error = std::exchange(state.last, state.sticky);
  return state.sticky != cudaSuccess ? state.sticky : error;
}

cudaError_t cudaPeekAtLastError() {
  return runtime().sticky != cudaSuccess ? runtime().sticky : runtime().last;
}

namespace {

struct ErrorText {
  cudaError_t error;
  const char *name, *text;
};

constexpr ErrorText kErrorTexts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorECCUncorrectable, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
     "too many resources requested for launch"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "the capture was not initiated in this stream"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge", "a join would have merged two captures"},
    {cudaErrorIllegalState, "cudaErrorIllegalState",
     "the operation cannot be performed in the present state"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
};

const ErrorText* text_of(cudaError_t error) {
  const auto* const found = std::find_if(std::begin(kErrorTexts), std::end(kErrorTexts),
                                         [&](const ErrorText& entry) { return entry.error == error; });
  return found == std::end(kErrorTexts) ? nullptr : found;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) {
  const ErrorText* const found = text_of(error);
  return found == nullptr ? "unrecognized error code" : found->name;
}

const char* cudaGetErrorString(cudaError_t error) {
  if (error == cudaErrorLaunchFailure && !runtime().fault.empty()) return runtime().fault.c_str();
  const ErrorText* const found = text_of(error);
  return found == nullptr ? "unrecognized error code" : found->text;
}

cudaError_t cudaFuncSetAttribute(const void* func, cudaFuncAttribute attr, int value) {
  if (const cudaError_t error = enter("cudaFuncSetAttribute")) return error;
  if (func == nullptr || value < 0) return finish(cudaErrorInvalidValue);
  const bool too_much = attr == cudaFuncAttributeMaxDynamicSharedMemorySize && value > 227 * 1024;
  return finish(too_much ? cudaErrorInvalidValue : cudaSuccess);
}

}  // extern "C"
