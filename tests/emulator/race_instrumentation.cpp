// The functions that code compiled with -fsanitize=thread calls, in place of the compiler's own library, which
// knows nothing of fibers. Atomics of the host language occur in launchers only and are carried out, not watched.
#include <cstdint>
#include <cstring>

#include "tests/emulator/race_access.h"

using residuum::emulator::record_access;

#define RETURN_ADDRESS __builtin_return_address(0)
#define RESIDUUM_ACCESS(name, bytes, write) \
  void name(void* address) { record_access(address, bytes, write, RETURN_ADDRESS); }
#define RESIDUUM_ACCESSES(bytes)                                 \
  RESIDUUM_ACCESS(__tsan_read##bytes, bytes, false)              \
  RESIDUUM_ACCESS(__tsan_write##bytes, bytes, true)              \
  RESIDUUM_ACCESS(__tsan_unaligned_read##bytes, bytes, false)    \
  RESIDUUM_ACCESS(__tsan_unaligned_write##bytes, bytes, true)    \
  RESIDUUM_ACCESS(__tsan_volatile_read##bytes, bytes, false)     \
  RESIDUUM_ACCESS(__tsan_volatile_write##bytes, bytes, true)

#define RESIDUUM_FETCH(bits, name, operation)                                            \
  uint##bits##_t __tsan_atomic##bits##_##name(uint##bits##_t* at, uint##bits##_t v, int) { \
    return operation(at, v, __ATOMIC_SEQ_CST);                                           \
  }
#define RESIDUUM_ATOMICS(bits)                                                                        \
  uint##bits##_t __tsan_atomic##bits##_load(const uint##bits##_t* at, int) {                          \
    return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                                     \
  }                                                                                                   \
  void __tsan_atomic##bits##_store(uint##bits##_t* at, uint##bits##_t v, int) {                       \
    __atomic_store_n(at, v, __ATOMIC_SEQ_CST);                                                        \
  }                                                                                                   \
  int __tsan_atomic##bits##_compare_exchange_strong(uint##bits##_t* at, uint##bits##_t* expected,     \
                                                    uint##bits##_t v, int, int) {                     \
    return __atomic_compare_exchange_n(at, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);   \
  }                                                                                                   \
  RESIDUUM_FETCH(bits, exchange, __atomic_exchange_n)                                                 \
  RESIDUUM_FETCH(bits, fetch_add, __atomic_fetch_add)                                                 \
  RESIDUUM_FETCH(bits, fetch_sub, __atomic_fetch_sub)                                                 \
  RESIDUUM_FETCH(bits, fetch_or, __atomic_fetch_or)                                                   \
  RESIDUUM_FETCH(bits, fetch_and, __atomic_fetch_and)

extern "C" {

void __tsan_init() {
  residuum::emulator::install_race_detector();
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void*) {}

RESIDUUM_ACCESSES(1)
RESIDUUM_ACCESSES(2)
RESIDUUM_ACCESSES(4)
RESIDUUM_ACCESSES(8)
RESIDUUM_ACCESSES(16)
void __tsan_read_range(void* address, size_t bytes) {
  record_access(address, bytes, false, RETURN_ADDRESS);
}
void __tsan_write_range(void* address, size_t bytes) {
  record_access(address, bytes, true, RETURN_ADDRESS);
}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}

RESIDUUM_ATOMICS(8)
RESIDUUM_ATOMICS(16)
RESIDUUM_ATOMICS(32)
RESIDUUM_ATOMICS(64)

// What clang makes of copies.
void* __tsan_memcpy(void* dst, const void* src, size_t bytes) {
  record_access(src, bytes, false, RETURN_ADDRESS);
  record_access(dst, bytes, true, RETURN_ADDRESS);
  return std::memcpy(dst, src, bytes);
}
void* __tsan_memset(void* dst, int value, size_t bytes) {
  record_access(dst, bytes, true, RETURN_ADDRESS);
  return std::memset(dst, value, bytes);
}

}  // extern "C"
