// Copies that overlap with kernels. Invariant: a buffer is not touched again before the event says that its
// last user is done.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/cuda/device/cuda_call.h"

namespace residuum::cuda {

/// Host to device in three hops: into pinned memory by the host, to a buffer on the device on a stream of its
/// own (while kernels run), to the destination on the compute stream (a fraction of the time).
class Uploader {
 public:
  explicit Uploader(cudaStream_t compute) : compute_(compute), copies_(make_stream()) {}

  void upload(std::byte* dst, const void* src, size_t bytes);

 private:
  struct Slot {
    PinnedBlock host;
    DeviceBlock device;
    EventHandle arrived;  ///< on the device; `host` is free
    EventHandle used;     ///< at the destination; `device` is free
  };
  /// Two of a size, in turn: one is filled while the other travels.
  struct Slots {
    Slot slot[2];
    size_t next = 0;
  };
  static Slot make_slot(size_t bytes);
  Slot& next_slot(size_t bytes);

  cudaStream_t compute_;
  StreamHandle copies_;
  std::map<size_t, Slots> slots_;  ///< by bytes
};

/// Device to pinned host memory on the compute stream; buffers are used again.
class Downloader {
 public:
  explicit Downloader(cudaStream_t compute) : compute_(compute), free_(std::make_shared<FreeList>()) {}

  std::unique_ptr<Download> download(const std::byte* src, size_t bytes);

 private:
  struct Buffer {
    PinnedBlock host;
    EventHandle arrived;
  };
  using FreeList = std::map<size_t, std::vector<Buffer>>;  ///< by bytes
  class Copy;

  cudaStream_t compute_;
  std::shared_ptr<FreeList> free_;
};

}  // namespace residuum::cuda
