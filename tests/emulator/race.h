// What the scheduler tells a race detector. There is one only in programs whose kernels are compiled with
// -fsanitize=thread and linked with race_*.cpp, which takes the place of that compiler's own library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace residuum::emulator {

struct Block;
struct Call;
struct Launch;
struct Thread;
struct Traffic;
struct Warp;

class RaceDetector {
 public:
  virtual ~RaceDetector() = default;
  /// The arguments are constants, not memory.
  virtual void begin_launch(const Launch& launch, const Call& call) = 0;
  /// Something else than a kernel was done: launches so far are done when the next one begins.
  virtual void launches_are_done() = 0;
  /// What the launch read and wrote; counted with options().record_launches.
  virtual Traffic end_launch() = 0;
  virtual void begin_block(const Block& block) = 0;
  /// All threads of the block have arrived.
  virtual void barrier(const Block& block) = 0;
  /// __syncwarp of these lanes.
  virtual void sync_warp(const Warp& warp, uint32_t lanes) = 0;
  virtual void fence(const Thread& thread) = 0;
  /// What the thread has written to shared memory may be read by products behind the next barrier.
  virtual void fence_for_products(const Thread& thread) = 0;
  /// Shared memory read by a product (wgmma), which sees what was written before such a fence alone.
  virtual void product_access(const Thread& thread, const void* address, size_t bytes) = 0;
  virtual void atomic(const Thread& thread, const void* address, size_t bytes) = 0;
  /// An access by a function of the emulator, which is not instrumented itself.
  virtual void access(const Thread& thread, const void* address, size_t bytes, bool write) = 0;
  /// A copy is to read this before grid_dependency_wait: the launch ahead on the stream must not write it.
  virtual void early_read(const void* address, size_t bytes) = 0;
  /// What happened to these bytes does not matter any more.
  virtual void forget(const void* address, size_t bytes) = 0;
};
extern RaceDetector* race_detector;  ///< null: none

}  // namespace residuum::emulator
