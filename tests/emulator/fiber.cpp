// The switch in assembly (x86-64, System V), stacks, and the annotations that AddressSanitizer wants.
#include "tests/emulator/fiber.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <system_error>

#if defined(__SANITIZE_ADDRESS__)
#define RESIDUUM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RESIDUUM_ASAN 1
#endif
#endif
#ifdef RESIDUUM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef __x86_64__
#error "the emulator's fiber switch is written for x86-64"
#endif

// void residuum_fiber_switch(void** save, void* load): the callee-saved registers go on the stack; the floating
// point control words are the same everywhere and stay.
extern "C" void residuum_fiber_switch(void** save, void* load);
asm(R"(
.text
.p2align 4
.globl residuum_fiber_switch
.hidden residuum_fiber_switch
.type residuum_fiber_switch, @function
residuum_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size residuum_fiber_switch, .-residuum_fiber_switch
)");

namespace residuum::emulator {
namespace {

constexpr size_t kStackBytes = 256 * 1024;
constexpr size_t kStagger = 128;  ///< bytes; 32 lanes cover the 4 KB after which cache sets repeat

}  // namespace

void allocate_stack(Fiber& fiber, unsigned number) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, page + kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) {
    throw std::system_error(errno, std::generic_category(), "emulator: stack " + std::to_string(number));
  }
  fiber.bottom = static_cast<std::byte*>(memory) + page;
  fiber.size = kStackBytes;
}

void adopt_current_stack(Fiber& fiber) {
  pthread_attr_t attributes;
  void* bottom = nullptr;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &bottom, &fiber.size);
  pthread_attr_destroy(&attributes);
  fiber.bottom = static_cast<std::byte*>(bottom);
}

void prepare_fiber(Fiber& fiber, unsigned number, void (*entry)()) {
  std::byte* top = fiber.bottom + fiber.size - (number % 32) * kStagger;
  auto* words = reinterpret_cast<uintptr_t*>(top) - 3;  // `entry` finds the stack as after a call: 16 k + 8
  words[0] = 0;  // its caller, for whoever walks the stack
  words[-1] = reinterpret_cast<uintptr_t>(entry);
  for (int i = 2; i <= 7; ++i) words[-i] = 0;
  fiber.stack_pointer = words - 7;
  fiber.fake_stack = nullptr;
}

#ifdef RESIDUUM_ASAN
void begin_fiber() {
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
}
void switch_fiber(Fiber& from, Fiber& to) {
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
  residuum_fiber_switch(&from.stack_pointer, to.stack_pointer);
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
}
void leave_fiber(Fiber& to) {
  void* unused = nullptr;
  __sanitizer_start_switch_fiber(nullptr, to.bottom, to.size);
  residuum_fiber_switch(&unused, to.stack_pointer);
  std::abort();
}
void clean_stack(Fiber& fiber) {
  __asan_unpoison_memory_region(fiber.bottom, fiber.size);
}
#else
void begin_fiber() {}
void switch_fiber(Fiber& from, Fiber& to) {
  residuum_fiber_switch(&from.stack_pointer, to.stack_pointer);
}
void leave_fiber(Fiber& to) {
  void* unused = nullptr;
  residuum_fiber_switch(&unused, to.stack_pointer);
  std::abort();
}
void clean_stack(Fiber&) {}
#endif

}  // namespace residuum::emulator
