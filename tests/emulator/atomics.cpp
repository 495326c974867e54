// Atomics on integers. Each is a point where other blocks may go on first: results that depend on the order
// of arrival then differ between scheduling orders.
#include <type_traits>

#include "tests/emulator/device_functions.h"
#include "tests/emulator/grid.h"
#include "tests/emulator/race.h"

namespace residuum::emulator {
namespace {

template <typename T>
T combine(Atomic operation, T old, T value) {
  if (operation == Atomic::kExchange) return value;
  using Unsigned = std::make_unsigned_t<T>;  // a signed sum wraps too
  return static_cast<T>(static_cast<Unsigned>(old) + static_cast<Unsigned>(value));
}

}  // namespace

template <typename T>
T atomic(Atomic operation, T* address, T value) {
  const Thread& thread = current_thread();
  if (!thread.owner->shared.contains(address, sizeof(T))) require_waited(thread, "an atomic");
  yield();
  if (race_detector) race_detector->atomic(thread, address, sizeof(T));
  const T old = *address;
  *address = combine(operation, old, value);
  return old;
}

template int atomic(Atomic, int*, int);
template unsigned atomic(Atomic, unsigned*, unsigned);
template unsigned long long atomic(Atomic, unsigned long long*, unsigned long long);

}  // namespace residuum::emulator
