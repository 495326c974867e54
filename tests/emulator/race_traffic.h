// The distinct bytes of device memory that one kernel launch reads and writes: one bit a byte and direction,
// in pages made when they are first touched. Memory that cudaMalloc did not give (shared memory, stacks, the
// host's) does not count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "tests/emulator/traffic.h"

namespace residuum::emulator {

class TrafficRecorder {
 public:
  /// Forgets everything.
  void clear();
  void add(uintptr_t address, size_t bytes, bool reads, bool writes);
  /// Whether one of these bytes was written since clear().
  bool has_written(uintptr_t address, size_t bytes) const;
  /// Of what was added since clear().
  Traffic total() const;

 private:
  static constexpr size_t kPageBytes = 4096, kWordBits = 64, kWords = kPageBytes / kWordBits;
  struct Page {
    uint64_t read[kWords] = {}, written[kWords] = {};
  };

  bool on_device(uintptr_t address, size_t bytes);
  Page& page(uintptr_t number);

  std::unordered_map<uintptr_t, Page> pages_;  ///< by address / kPageBytes
  uintptr_t last_number_ = 0;
  Page* last_page_ = nullptr;
  uintptr_t block_ = 0, block_end_ = 0;  ///< the allocation of the last access
};

}  // namespace residuum::emulator
