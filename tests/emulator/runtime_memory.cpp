// Memory of the emulated runtime: blocks of exact size on the host's heap, so that an address sanitizer finds
// the first byte out of range; fresh device memory is 0xFF bytes (NaN).
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tests/emulator/race.h"
#include "tests/emulator/runtime_state.h"

namespace residuum::emulator {
namespace {

constexpr size_t kAlignment = 256;
constexpr int kFreshByte = 0xFF;

cudaError_t allocate(std::map<const std::byte*, size_t>& blocks, void** address, size_t bytes) {
  *address = nullptr;
  if (bytes == 0) return cudaSuccess;
  void* block = nullptr;
  if (posix_memalign(&block, kAlignment, bytes) != 0) return finish(cudaErrorMemoryAllocation);
  std::memset(block, kFreshByte, bytes);
  blocks[static_cast<std::byte*>(block)] = bytes;
  *address = block;
  return cudaSuccess;
}

cudaError_t release(std::map<const std::byte*, size_t>& blocks, void* address) {
  if (address == nullptr) return cudaSuccess;
  if (blocks.erase(static_cast<std::byte*>(address)) == 0) return finish(cudaErrorInvalidValue);
  std::free(address);
  return cudaSuccess;
}

bool on_device(const void* address, size_t bytes) {
  return inside(runtime().device_blocks, address, bytes);
}
bool pinned(const void* address, size_t bytes) {
  return inside(runtime().pinned_blocks, address, bytes);
}

/// Whether both ends are where `kind` says. Host memory is everything that is not device memory.
bool places_match(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind == cudaMemcpyDefault) return true;
  const bool dst_fits = to_device ? on_device(dst, bytes) : !on_device(dst, 1);
  return dst_fits && (from_device ? on_device(src, bytes) : !on_device(src, 1));
}

/// A synchronous call works on the null stream: it waits for every stream that is not cudaStreamNonBlocking.
void wait_for_blocking_streams() {
  run_until([] {
    const auto& streams = runtime().streams;
    return std::all_of(streams.begin(), streams.end(), [](const CUstream_st* stream) {
      return (stream->flags & cudaStreamNonBlocking) != 0 || stream->tasks.empty();
    });
  });
}

}  // namespace

bool inside(const std::map<const std::byte*, size_t>& blocks, const void* address, size_t bytes) {
  const auto* const first = static_cast<const std::byte*>(address);
  auto next = blocks.upper_bound(first);
  if (next == blocks.begin()) return false;
  const auto& [base, size] = *--next;
  const auto offset = static_cast<size_t>(first - base);
  return offset <= size && bytes <= size - offset;
}

size_t total_bytes(const std::map<const std::byte*, size_t>& blocks) {
  size_t total = 0;
  for (const auto& [block, bytes] : blocks) total += bytes;
  return total;
}

}  // namespace residuum::emulator

using namespace residuum::emulator;

extern "C" {

cudaError_t cudaMalloc(void** address, size_t bytes) {
  if (const cudaError_t error = enter("cudaMalloc")) return error;
  if (const cudaError_t error = forbid_capture()) return error;
  const size_t free = runtime().memory - std::min(runtime().memory, device_bytes());
  if (bytes > free) return finish(cudaErrorMemoryAllocation);
  return allocate(runtime().device_blocks, address, bytes);
}

cudaError_t cudaFree(void* address) {
  if (const cudaError_t error = enter("cudaFree")) return error;
  if (const cudaError_t error = forbid_capture()) return error;
  run_all();
  if (race_detector) race_detector->launches_are_done();
  return release(runtime().device_blocks, address);
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  if (const cudaError_t error = enter("cudaMemGetInfo")) return error;
  *total = runtime().memory;
  *free = runtime().memory - std::min(runtime().memory, device_bytes());
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** address, size_t bytes, unsigned) {
  if (const cudaError_t error = enter("cudaHostAlloc")) return error;
  if (const cudaError_t error = forbid_capture()) return error;
  return allocate(runtime().pinned_blocks, address, bytes);
}

cudaError_t cudaMallocHost(void** address, size_t bytes) {
  if (const cudaError_t error = enter("cudaMallocHost")) return error;
  if (const cudaError_t error = forbid_capture()) return error;
  return allocate(runtime().pinned_blocks, address, bytes);
}

cudaError_t cudaFreeHost(void* address) {
  if (const cudaError_t error = enter("cudaFreeHost")) return error;
  if (const cudaError_t error = forbid_capture()) return error;
  run_all();
  return release(runtime().pinned_blocks, address);
}

cudaError_t cudaMemcpy(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = enter("cudaMemcpy")) return error;
  if (const cudaError_t error = forbid_capture()) return error;
  if (bytes == 0) return cudaSuccess;
  if (!places_match(dst, src, bytes, kind)) return finish(cudaErrorInvalidValue);
  wait_for_blocking_streams();
  if (runtime().sticky != cudaSuccess) return finish(runtime().sticky);
  if (race_detector) race_detector->launches_are_done();
  std::memmove(dst, src, bytes);
  return cudaSuccess;
}

// Pinned memory is read or written when the copy runs. Pageable memory to the device is read at once; from
// the device, the call waits.
cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (const cudaError_t error = enter("cudaMemcpyAsync")) return error;
  if (bytes == 0) return cudaSuccess;
  if (!places_match(dst, src, bytes, kind)) return finish(cudaErrorInvalidValue);
  const bool from_pageable = kind == cudaMemcpyHostToDevice && !pinned(src, bytes);
  const bool to_pageable = kind == cudaMemcpyDeviceToHost && !pinned(dst, bytes);
  if (from_pageable || to_pageable) {
    if (const cudaError_t error = forbid_capture()) return error;
  }
  if (from_pageable) {
    const auto* const first = static_cast<const std::byte*>(src);
    const auto staged = std::make_shared<std::vector<std::byte>>(first, first + bytes);
    return submit(stream, {[=] { std::memcpy(dst, staged->data(), bytes); }, nullptr, nullptr});
  }
  const cudaError_t error = submit(stream, {[=] { std::memmove(dst, src, bytes); }, nullptr, nullptr});
  if (error != cudaSuccess || !to_pageable) return error;
  return cudaStreamSynchronize(stream);
}

cudaError_t cudaMemset(void* address, int value, size_t bytes) {
  if (const cudaError_t error = enter("cudaMemset")) return error;
  if (const cudaError_t error = forbid_capture()) return error;
  if (bytes == 0) return cudaSuccess;
  if (!on_device(address, bytes)) return finish(cudaErrorInvalidValue);
  wait_for_blocking_streams();
  std::memset(address, value, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* address, int value, size_t bytes, cudaStream_t stream) {
  if (const cudaError_t error = enter("cudaMemsetAsync")) return error;
  if (bytes == 0) return cudaSuccess;
  if (!on_device(address, bytes)) return finish(cudaErrorInvalidValue);
  return submit(stream, {[=] { std::memset(address, value, bytes); }, nullptr, nullptr});
}

}  // extern "C"
