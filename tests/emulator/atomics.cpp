// Atomics on integers. Each is a point where other blocks may go on first: results that depend on the order
// of arrival then differ between scheduling orders.
#include <algorithm>

#include "tests/emulator/device_functions.h"
#include "tests/emulator/grid.h"
#include "tests/emulator/race.h"

namespace residuum::emulator {
namespace {

template <typename T>
T combine(Atomic operation, T old, T value, T expected) {
  switch (operation) {
    case Atomic::kAdd: {
      using Unsigned = std::make_unsigned_t<T>;  // a signed sum wraps too
      return static_cast<T>(static_cast<Unsigned>(old) + static_cast<Unsigned>(value));
    }
    case Atomic::kMax:
      return std::max(old, value);
    case Atomic::kMin:
      return std::min(old, value);
    case Atomic::kExchange:
      return value;
    case Atomic::kCompareSwap:
      return old == expected ? value : old;
    case Atomic::kIncrement:
      return old >= value ? T{0} : static_cast<T>(old + 1);
    case Atomic::kAnd:
      return old & value;
    case Atomic::kOr:
      return old | value;
  }
  return old;
}

}  // namespace

template <typename T>
T atomic(Atomic operation, T* address, T value, T expected) {
  const Thread& thread = current_thread();
  if (!thread.owner->shared.contains(address, sizeof(T))) require_waited(thread, "an atomic");
  yield();
  if (race_detector) race_detector->atomic(thread, address, sizeof(T));
  const T old = *address;
  *address = combine(operation, old, value, expected);
  return old;
}

template int atomic(Atomic, int*, int, int);
template unsigned atomic(Atomic, unsigned*, unsigned, unsigned);
template unsigned long long atomic(Atomic, unsigned long long*, unsigned long long, unsigned long long);

}  // namespace residuum::emulator
