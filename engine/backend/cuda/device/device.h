// One GPU: its streams, memory and copies. Everything else of the CUDA backend goes through this class, which
// checks every call and turns a failure into Error(kDevice).
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "engine/backend/backend.h"
#include "kernels/launch.h"

namespace residuum::cuda {

inline constexpr int kStreams = 2;

class Device {
 public:
  virtual ~Device() = default;

  /// "NVIDIA H200, sm_90, 132 multiprocessors, 139 GiB, driver 13.0, runtime 13.0".
  virtual std::string describe() const = 0;
  /// The GPU's UUID in hexadecimal.
  virtual std::string id() const = 0;
  /// Zeroed memory; throws OutOfMemory naming the bytes asked for, and those free.
  virtual std::unique_ptr<Memory> allocate(size_t bytes) = 0;
  virtual size_t free_bytes() const = 0;
  /// Synchronous copies, ordered after everything launched before.
  virtual void copy_to_device(std::byte* dst, const void* src, size_t bytes) = 0;
  virtual void copy_to_host(void* dst, const std::byte* src, size_t bytes) = 0;
  /// Staged through pinned memory: returns when `src` may be reused; ordered before everything launched
  /// later, and moving while what was launched before still runs.
  virtual void upload(std::byte* dst, const void* src, size_t bytes) = 0;
  /// A copy ordered after everything launched so far, to be waited for later.
  virtual std::unique_ptr<Download> download(const std::byte* src, size_t bytes) = 0;
  /// Inside of the device's memory, on stream 0.
  virtual void copy(std::byte* dst, const std::byte* src, size_t bytes) = 0;
  /// Stream `index` (below kStreams) of launches. Copies and everything outside of a program use stream 0; a
  /// program waits for it at its start and is waited for by it at its end.
  virtual kernels::Stream stream(int index) const = 0;
  /// Where kernels find the step's values; set_step is ordered like upload.
  virtual const kernels::StepValues* step_values() const = 0;
  virtual void set_step(const StepParams& params) = 0;
  virtual void synchronize() = 0;
  /// Of the L2 cache.
  virtual size_t cache_bytes() const = 0;
};

/// Opens GPU `ordinal`. Throws Error(kDevice), in one line, when there is no driver, no GPU, or one older
/// than compute capability 8.0.
std::unique_ptr<Device> open_device(int ordinal);

}  // namespace residuum::cuda
