// Inside of the emulator: the threads, warps and blocks that are under way. One launch runs at a time; all of
// its fibers run on the machine thread that called run_grid.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/emulator/async_copy.h"
#include "tests/emulator/execution.h"
#include "tests/emulator/fiber.h"
#include "tests/emulator/options.h"
#include "tests/emulator/product_queue.h"
#include "tests/emulator/shared_memory.h"

namespace residuum::emulator {

struct Block;
struct Warp;

struct Thread : Position {
  Fiber fiber;
  Block* owner = nullptr;
  Warp* warp = nullptr;
  unsigned number = 0;  ///< in its block
  unsigned lane = 0;
  CopyQueue copies;
  ProductQueue products;
  bool waited = false;  ///< for the grids before, or need not
};

/// Lanes that wait at one call of a warp collective.
struct Gathering {
  const Collective* collective = nullptr;
  CallSite site;
  uint32_t mask = 0, arrived = 0;
};

/// Sets of lanes, as bits.
struct Warp {
  Thread* lanes = nullptr;
  unsigned number = 0;      ///< in its block
  uint32_t live = 0;        ///< not exited
  uint32_t ready = 0;       ///< can go on
  unsigned gatherings = 0;  ///< in use
  Gathering gathering[32];
  void* posted[32] = {};
  ProductLog products;
};

struct Block {
  unsigned slot = 0;   ///< which of the blocks under way
  uint64_t index = 0;  ///< in the grid
  std::unique_ptr<Thread[]> threads;
  unsigned capacity = 0;  ///< of `threads`
  unsigned size = 0, live = 0;
  std::vector<Warp> warps;
  uint32_t ready_warps = 0;

  // The barrier that threads wait at.
  unsigned arrived = 0, predicates = 0;
  int result = 0;
  Barrier kind = Barrier::kPlain;
  CallSite site;

  SharedMemory shared;
};

inline Thread& current_thread() {
  return *static_cast<Thread*>(current);
}
inline const char* name_of(Barrier kind) {
  constexpr const char* kNames[] = {"__syncthreads", "__syncthreads_or", "__syncthreads_and",
                                    "__syncthreads_count"};
  return kNames[static_cast<int>(kind)];
}
/// A number that depends on the seed and the calls before only.
uint32_t random_number();

/// Leaves the current thread, which is not ready, for one that is.
void suspend();
/// fault() for callers through which an exception cannot pass; leaks what the fiber's frames own.
[[noreturn]] void fault_without_unwinding(const std::string& what);
void make_ready(Warp& warp, uint32_t lanes);

/// Stops the launch if the thread must still wait for the grids before: what it does is not allowed yet.
void require_waited(const Thread& thread, const char* what);
/// Stops the launch unless the warps of each warpgroup have carried out the same products.
void check_warpgroups(const Block& block);

/// "block (1,0,0), thread (5,0,0)".
std::string describe(const Thread& thread);
/// "__any_sync of lanes 0xffffffff at file:line:column".
std::string describe(const Gathering& gathering);
/// Who waits where, thread ranges joined.
std::string describe_waits(const Block& block);

}  // namespace residuum::emulator
