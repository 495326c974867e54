// The rule of a race: two accesses to the same byte, at least one a write, not both atomic, and the earlier one
// not known to the thread that does the later.
#include "tests/emulator/race_shadow.h"

#include <cstring>

namespace residuum::emulator {
namespace {

constexpr int kMaxAccesses = 16;

bool conflict(AccessKind a, AccessKind b) {
  if (a == AccessKind::kRead && b == AccessKind::kRead) return false;
  return !(a == AccessKind::kAtomic && b == AccessKind::kAtomic);
}

/// Reads by several lanes of a warp at the same epoch are one entry.
bool mergeable(const Access& a, const Access& b) {
  return a.kind == AccessKind::kRead && b.kind == AccessKind::kRead && a.bytes == b.bytes &&
         a.moment.block == b.moment.block && a.moment.phase == b.moment.phase &&
         a.moment.epoch == b.moment.epoch && a.moment.warp == b.moment.warp;
}

}  // namespace

void Shadow::clear() {
  ++generation_;
  pool_used_ = 0;
  free_ = nullptr;
}

Access*& Shadow::cell(uintptr_t address) {
  constexpr size_t kPageBytes = kPageCells * kCellBytes;
  const uintptr_t number = address / kPageBytes;
  if (!last_page_ || number != last_number_) {
    std::unique_ptr<Page>& page = pages_[number];
    if (!page) page = std::make_unique<Page>();
    last_page_ = page.get();
    last_number_ = number;
  }
  if (last_page_->generation != generation_) {
    std::memset(last_page_->cells, 0, sizeof last_page_->cells);
    last_page_->generation = generation_;
  }
  return last_page_->cells[address % kPageBytes / kCellBytes];
}

void Shadow::forget(uintptr_t address, size_t bytes) {
  const uintptr_t end = address + bytes;
  for (uintptr_t at = address / kCellBytes * kCellBytes; at < end; at += kCellBytes) {
    Access*& head = cell(at);
    while (head) {
      Access* next = head->next;
      head->next = free_;
      free_ = head;
      head = next;
    }
  }
}

void Shadow::insert(Access*& head, const Access& access) {
  Access* slot = free_;
  if (slot) {
    free_ = slot->next;
  } else {
    if (pool_used_ == pool_.size()) pool_.emplace_back();
    slot = &pool_[pool_used_++];
  }
  *slot = access;
  slot->next = head;
  head = slot;
}

const Access* Shadow::add(uintptr_t address, const Access& access, const ThreadClock& clock) {
  Access*& head = cell(address);
  bool merged = false;
  int count = 0;
  for (Access** link = &head; *link;) {
    Access& earlier = **link;
    bool drop = false;
    if (earlier.bytes & access.bytes) {
      const bool hidden = (earlier.bytes & ~access.bytes) == 0;
      if (conflict(earlier.kind, access.kind)) {
        if (!clock.knows(earlier.moment)) return &earlier;
        drop = hidden && access.kind != AccessKind::kRead;
      } else if (access.kind == AccessKind::kRead) {
        drop = hidden && clock.knows_in_block(earlier.moment);
      }
    }
    if (!drop && !merged && mergeable(earlier, access)) {
      earlier.moment.lanes |= access.moment.lanes;
      merged = true;
    }
    drop = drop || ++count >= kMaxAccesses;
    if (drop) {
      *link = earlier.next;
      earlier.next = free_;
      free_ = &earlier;
    } else {
      link = &earlier.next;
    }
  }
  if (!merged) insert(head, access);
  return nullptr;
}

}  // namespace residuum::emulator
