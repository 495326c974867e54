// What kernels compiled as C++ need of the emulator while they run: who they are, barriers, warp collectives,
// shared memory. The functions here block the calling CUDA thread, never the machine's.
#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/emulator/call_site.h"

namespace residuum::emulator {

/// A kernel did what no GPU allows, or what only a lucky one survives. Thrown on the stack of whoever runs
/// the launch; the message names kernel, block, thread and place.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Of the running CUDA thread.
struct Position {
  uint3 thread{}, block{};
  dim3 block_size, grid_size;
};
extern Position* current;  ///< null while no kernel runs

#if defined(__SANITIZE_THREAD__)
#define RESIDUUM_RACE_BUILD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RESIDUUM_RACE_BUILD 1
#endif
#endif
const Position& current_position();
#ifdef RESIDUUM_RACE_BUILD
inline const Position& position() {
  return current_position();  // out of line, so not a memory access of the kernel
}
#else
inline const Position& position() {
  return *current;
}
#endif

/// Stops the launch with a Fault.
[[noreturn]] void fault(const std::string& what);

/// What __syncthreads and its variants combine.
enum class Barrier : uint8_t { kPlain, kOr, kAnd, kCount };
int barrier(Barrier kind, bool predicate, CallSite site);

/// A warp function: the last lane of the mask to arrive runs it for all. posted[lane] is what that lane
/// passed as `arguments`.
struct Collective {
  const char* name;
  void (*run)(void* const* posted, uint32_t mask);
  bool orders_memory = false;
};
void warp_collective(const Collective& collective, uint32_t mask, void* arguments, CallSite site);

/// Lets another thread go on, of another block if there is one.
void yield();
void thread_fence();

/// The block's array of the SHARED declaration `key`; its bytes are 0xFF when the block starts.
void* shared_array(const void* key, size_t bytes, size_t alignment);
unsigned char* dynamic_shared();

/// A kernel launch, arguments apart.
struct Launch {
  std::string name;
  dim3 grid, block;
  size_t shared_bytes = 0;
  bool dependent = false;  ///< may start while its predecessor ends (kernels/dependent_launch.h)
  /// Every thread must call grid_dependency_wait, before it touches global memory; copies may begin to read
  /// what the launch ahead on the stream does not write.
  bool must_wait = false;
  const void* stream = nullptr;
};
/// Throws kernels::LaunchError (code 1) for a shape that no GPU takes, or too much shared memory.
void check_launch(const Launch& launch);
/// A kernel and the copy of its arguments.
struct Call {
  void (*invoke)(const void* arguments) = nullptr;  ///< one thread's work
  const void* arguments = nullptr;
  size_t argument_bytes = 0;
};
/// Runs the kernel to its end. Throws Fault.
void run_grid(const Launch& launch, const Call& call);

/// What has run since clear_launch_records, in order; kept only with options().record_launches.
const std::vector<Launch>& launch_records();
void clear_launch_records();

}  // namespace residuum::emulator
