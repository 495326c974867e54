// The JSON header of a safetensors file, parsed strictly: the exact structure, no key twice, and memory in
// proportion to the header alone. Invariant: the tensors of a parsed header cover the file's data without
// hole or overlap.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/checkpoint/safetensors.h"

namespace residuum {

/// Largest header the format allows.
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

/// A tensor as its header entry describes it: [begin, end) are offsets into the data behind the header.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  SafetensorsMetadata metadata;
  std::vector<SafetensorsEntry> entries;  ///< by rising offset
};

/// Returns the header's size after checking it against the format's limit and the file's size.
/// `prefix`: the first eight bytes of the file, or fewer when it is shorter.
uint64_t parse_safetensors_header_size(const std::string& file, std::span<const std::byte> prefix,
                                       uint64_t file_bytes);

/// Parses and checks a header whose file has `data_bytes` bytes behind it; throws Error(kCheckpoint).
SafetensorsHeader parse_safetensors_header(const std::string& file, std::string_view json,
                                           uint64_t data_bytes);

}  // namespace residuum
