// What faults say: who waits where.
#include <string>

#include "tests/emulator/grid.h"
#include "kernels/launch.h"

namespace residuum::emulator {
namespace {

std::string hex(uint32_t mask) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", mask);
  return text;
}

template <typename Triple>
std::string triple(const Triple& value) {
  return "(" + std::to_string(value.x) + "," + std::to_string(value.y) + "," + std::to_string(value.z) + ")";
}

bool exited(const Thread& thread) {
  return (thread.warp->live >> thread.lane & 1) == 0;
}

std::string activity(const Thread& thread) {
  return exited(thread) ? "exited" : thread.wait.name ? "wait at " + describe(thread.wait) : "can go on";
}

[[noreturn]] void refuse(const Launch& launch, const std::string& what) {
  constexpr int kInvalidValue = 1;  // cudaErrorInvalidValue
  throw kernels::LaunchError(kInvalidValue, launch.name + ": " + what);
}

}  // namespace

std::string describe(const Thread& thread) {
  return "block " + triple(thread.block) + ", thread " + triple(thread.thread);
}

std::string describe(const Wait& wait) {
  return std::string(wait.name) + (wait.mask ? " of lanes " + hex(wait.mask) : "") + " at " +
         to_string(wait.site);
}

std::string describe(const Gathering& gathering) {
  return describe(Wait{gathering.collective->name, gathering.mask, gathering.site});
}

std::string describe_waits(const Block& block) {
  std::string text = "\n  block " + triple(block.threads[0].block) + ":";
  for (unsigned first = 0; first < block.size;) {
    const std::string what = activity(block.threads[first]);
    unsigned last = first;
    while (last + 1 < block.size && activity(block.threads[last + 1]) == what) ++last;
    text += "\n    threads " + triple(block.threads[first].thread);
    if (last > first) text += " to " + triple(block.threads[last].thread);
    text += ": " + what;
    first = last + 1;
  }
  return text;
}

void check_launch(const Launch& launch) {
  const dim3 grid = launch.grid, block = launch.block;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.x > 1024 || block.y > 1024 || block.z > 64) {
    refuse(launch, "block " + triple(block) + "; 1 to 1024 threads are allowed, z at most 64");
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7FFFFFFF || grid.y > 65535 || grid.z > 65535) {
    refuse(launch, "grid " + triple(grid) + "; at least 1 each, y and z at most 65535");
  }
  if (launch.shared_bytes > options().max_dynamic_shared) {
    refuse(launch, std::to_string(launch.shared_bytes) + " bytes of dynamic shared memory; at most " +
                       std::to_string(options().max_dynamic_shared) + " are allowed");
  }
}

}  // namespace residuum::emulator
