// The latest accesses to each four bytes of memory that a kernel has touched: those which a coming access may
// be in conflict with. The list of a cell is short: what a new access makes irrelevant is dropped, and beyond
// kMaxAccesses an old one, at the price of a race that is missed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>

#include "tests/emulator/race_clock.h"

namespace residuum::emulator {

enum class AccessKind : uint8_t { kRead, kWrite, kAtomic };

struct Access {
  Access* next = nullptr;
  const void* code = nullptr;  ///< return address into the kernel; null: unknown
  Moment moment;
  uint8_t bytes = 0;  ///< of the cell, as bits
  AccessKind kind = AccessKind::kRead;
  uint16_t product_fences = 0;  ///< of the thread until then (ThreadClock)
};

class Shadow {
 public:
  /// Forgets everything.
  void clear();
  void forget(uintptr_t address, size_t bytes);
  /// Records `access` to the cell at `cell` by a thread whose clock is `clock`. Returns the earlier access it
  /// is in a race with, or null.
  const Access* add(uintptr_t cell, const Access& access, const ThreadClock& clock);
  /// A recorded access to the cell at `address` for which is_wanted(access), or null.
  template <typename IsWanted>
  const Access* find(uintptr_t address, const IsWanted& is_wanted) {
    for (const Access* access = cell(address); access; access = access->next) {
      if (is_wanted(*access)) return access;
    }
    return nullptr;
  }

  static constexpr size_t kCellBytes = 4;

 private:
  static constexpr size_t kPageCells = 1024;
  struct Page {
    uint64_t generation = 0;  ///< other than the shadow's: empty
    Access* cells[kPageCells] = {};
  };

  Access*& cell(uintptr_t address);
  void insert(Access*& head, const Access& access);

  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages_;
  uintptr_t last_number_ = 0;
  Page* last_page_ = nullptr;
  uint64_t generation_ = 1;
  std::deque<Access> pool_;
  size_t pool_used_ = 0;
  Access* free_ = nullptr;
};

}  // namespace residuum::emulator
