// The asynchronous copies of one thread that are under way: cp.async and its groups.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace residuum::emulator {

class CopyQueue {
 public:
  struct Copy {
    void* dst = nullptr;
    const void* src = nullptr;  ///< null: zeros arrive
    uint64_t group = 0;
  };

  void clear();
  /// 16 bytes.
  void issue(void* dst, const void* src);
  void commit() { ++group_; }
  /// Until at most `pending` committed groups are under way.
  void wait(unsigned pending);

 private:
  std::vector<Copy> copies_;  ///< in the order of issue; the first done_ are done
  size_t done_ = 0;
  uint64_t group_ = 0;  ///< the one being assembled
};

}  // namespace residuum::emulator
