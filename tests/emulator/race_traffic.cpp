#include "tests/emulator/race_traffic.h"

#include <algorithm>
#include <bit>

#include "tests/emulator/runtime_state.h"

namespace residuum::emulator {

void TrafficRecorder::clear() {
  pages_.clear();
  last_page_ = nullptr;
  block_ = block_end_ = 0;
}

bool TrafficRecorder::on_device(uintptr_t address, size_t bytes) {
  if (address >= block_ && address + bytes <= block_end_) return true;
  const auto& blocks = runtime().device_blocks;
  auto next = blocks.upper_bound(reinterpret_cast<const std::byte*>(address));
  if (next == blocks.begin()) return false;
  const auto& [base, size] = *--next;
  const auto first = reinterpret_cast<uintptr_t>(base);
  if (address + bytes > first + size) return false;
  block_ = first;
  block_end_ = first + size;
  return true;
}

TrafficRecorder::Page& TrafficRecorder::page(uintptr_t number) {
  if (last_page_ == nullptr || last_number_ != number) {
    last_page_ = &pages_[number];  // stays where it is while others are added
    last_number_ = number;
  }
  return *last_page_;
}

void TrafficRecorder::add(uintptr_t address, size_t bytes, bool reads, bool writes) {
  if (!on_device(address, bytes)) return;
  const uintptr_t end = address + bytes;
  while (address < end) {
    const size_t bit = address % kWordBits, count = std::min<size_t>(end - address, kWordBits - bit);
    const uint64_t bits = (count == kWordBits ? ~uint64_t{0} : (uint64_t{1} << count) - 1) << bit;
    Page& touched = page(address / kPageBytes);
    const size_t word = address % kPageBytes / kWordBits;
    if (reads) touched.read[word] |= bits;
    if (writes) touched.written[word] |= bits;
    address += count;
  }
}

bool TrafficRecorder::has_written(uintptr_t address, size_t bytes) const {
  for (const uintptr_t end = address + bytes; address < end; ++address) {
    const auto found = pages_.find(address / kPageBytes);
    if (found == pages_.end()) continue;
    if (found->second.written[address % kPageBytes / kWordBits] >> address % kWordBits & 1) return true;
  }
  return false;
}

Traffic TrafficRecorder::total() const {
  const auto count = [](const uint64_t(&words)[kWords]) {
    size_t bits = 0;
    for (const uint64_t word : words) bits += static_cast<size_t>(std::popcount(word));
    return bits;
  };
  Traffic sum;
  for (const auto& [number, touched] : pages_) {
    sum.bytes_read += count(touched.read);
    sum.bytes_written += count(touched.written);
  }
  return sum;
}

}  // namespace residuum::emulator
