// Fibers: each CUDA thread runs on a stack of its own and switches to another in about ten nanoseconds (ucontext
// takes 280: it makes a system call). Stacks end in a guard page, so an overflow is a crash and not a
// corruption; they are reused and never given back.
#pragma once

#include <cstddef>

namespace residuum::emulator {

/// A stack and where it was left.
struct Fiber {
  void* stack_pointer = nullptr;
  std::byte* bottom = nullptr;  ///< lowest address of the stack
  size_t size = 0;
  void* fake_stack = nullptr;  ///< AddressSanitizer's, while the fiber is left

  bool owns(const void* address) const {
    return static_cast<size_t>(static_cast<const std::byte*>(address) - bottom) < size;
  }
};

/// Gives `fiber` a stack. `number` staggers the tops, which would otherwise share a few cache sets.
void allocate_stack(Fiber& fiber, unsigned number);
/// The stack of the caller, for switching back to it.
void adopt_current_stack(Fiber& fiber);
/// Makes `fiber` start in `entry` at the next switch to it. `entry` calls begin_fiber first and never returns.
void prepare_fiber(Fiber& fiber, unsigned number, void (*entry)());
void begin_fiber();
/// Leaves `from`, goes on in `to`; returns when someone switches back.
void switch_fiber(Fiber& from, Fiber& to);
/// Leaves a fiber for good.
[[noreturn]] void leave_fiber(Fiber& to);
/// Makes the stack of a fiber that was abandoned in mid-run fit for reuse.
void clean_stack(Fiber& fiber);

}  // namespace residuum::emulator
