// Arrays of shared memory, and what kernels call to find theirs.
#include "tests/emulator/shared_memory.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

#include "tests/emulator/grid.h"
#include "tests/emulator/race.h"

namespace residuum::emulator {
namespace {

constexpr size_t kMaxStaticBytes = 48 * 1024;
/// The launch's part lies behind 128 bytes of static arrays, as on a GPU, so kernels that align it further
/// waste as much of it as there.
constexpr size_t kDynamicAlignment = 1024, kDynamicOffset = 128;
constexpr unsigned char kPoison = 0xFF;

}  // namespace

bool SharedMemory::Array::contains(const void* address, size_t count) const {
  const auto offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(memory);
  return offset <= bytes && count <= bytes - offset;
}

void SharedMemory::Array::poison() const {
  std::memset(memory, kPoison, bytes);
  if (race_detector) race_detector->forget(memory, bytes);
}

SharedMemory::Array SharedMemory::allocate(const void* key, size_t bytes, size_t alignment, size_t skipped) {
  alignment = std::max<size_t>(alignment, 16);
  auto* memory = static_cast<unsigned char*>(::operator new (skipped + bytes, std::align_val_t{alignment}));
  const Array array{key, memory + skipped, bytes, alignment, skipped};
  array.poison();
  return array;
}

void SharedMemory::release(const Array& array) {
  ::operator delete (array.memory - array.skipped, std::align_val_t{array.alignment});
}

void SharedMemory::begin_launch(size_t dynamic_bytes) {
  clear();
  if (dynamic_bytes > 0) dynamic_ = allocate(nullptr, dynamic_bytes, kDynamicAlignment, kDynamicOffset);
}

void SharedMemory::begin_block() {
  for (const Array& array : arrays_) array.poison();
  if (dynamic_.memory) dynamic_.poison();
}

void SharedMemory::clear() {
  for (const Array& array : arrays_) release(array);
  arrays_.clear();
  if (dynamic_.memory) release(dynamic_);
  dynamic_ = {};
}

void* SharedMemory::find(const void* key) const {
  for (const Array& array : arrays_) {
    if (array.key == key) return array.memory;
  }
  return nullptr;
}

void* SharedMemory::add(const void* key, size_t bytes, size_t alignment) {
  arrays_.push_back(allocate(key, bytes, alignment, 0));
  return arrays_.back().memory;
}

size_t SharedMemory::static_bytes() const {
  size_t sum = 0;
  for (const Array& array : arrays_) sum += array.bytes;
  return sum;
}

bool SharedMemory::contains(const void* address, size_t bytes) const {
  if (dynamic_.memory && dynamic_.contains(address, bytes)) return true;
  return std::any_of(arrays_.begin(), arrays_.end(),
                     [=](const Array& array) { return array.contains(address, bytes); });
}

void* shared_array(const void* key, size_t bytes, size_t alignment) {
  SharedMemory& shared = current_thread().owner->shared;
  if (void* found = shared.find(key)) return found;
  if (shared.static_bytes() + bytes > kMaxStaticBytes) {
    fault("SHARED arrays of " + std::to_string(shared.static_bytes() + bytes) +
          " bytes; at most 49152 are allowed");
  }
  const size_t all = shared.static_bytes() + bytes + shared.dynamic_bytes();
  if (all > options().max_dynamic_shared) {
    fault("SHARED arrays and the launch's shared memory are " + std::to_string(all) + " bytes; at most " +
          std::to_string(options().max_dynamic_shared) + " are allowed");
  }
  return shared.add(key, bytes, alignment);
}

unsigned char* dynamic_shared() {
  unsigned char* memory = current_thread().owner->shared.dynamic();
  if (!memory) fault("DYNAMIC_SHARED in a launch with 0 bytes of it");
  return memory;
}

}  // namespace residuum::emulator
