// The shared memory of one block: an array of exact size for each SHARED declaration, found by the address of
// a static that belongs to the declaration, and one for the launch's dynamic part. Exact sizes let
// AddressSanitizer see an overflow; 0xFF bytes (NaN as float, -1 as integer) show a read of what nobody
// wrote.
#pragma once

#include <cstddef>
#include <vector>

namespace residuum::emulator {

class SharedMemory {
 public:
  SharedMemory() = default;
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory() { clear(); }

  /// Frees all, then takes `dynamic_bytes`, aligned to 128 and to no more.
  void begin_launch(size_t dynamic_bytes);
  void begin_block();
  void clear();

  /// Null while no thread of the block's launch has reached the declaration.
  void* find(const void* key) const;
  void* add(const void* key, size_t bytes, size_t alignment);
  unsigned char* dynamic() const { return dynamic_.memory; }
  size_t dynamic_bytes() const { return dynamic_.bytes; }
  size_t static_bytes() const;
  /// Whether [address, address + bytes) lies inside one array.
  bool contains(const void* address, size_t bytes) const;

 private:
  struct Array {
    const void* key = nullptr;
    unsigned char* memory = nullptr;
    size_t bytes = 0, alignment = 1, skipped = 0;  ///< bytes before `memory`

    bool contains(const void* address, size_t count) const;
    void poison() const;
  };
  /// `skipped` bytes behind an address of that alignment.
  static Array allocate(const void* key, size_t bytes, size_t alignment, size_t skipped);
  static void release(const Array& array);

  std::vector<Array> arrays_;
  Array dynamic_;
};

}  // namespace residuum::emulator
