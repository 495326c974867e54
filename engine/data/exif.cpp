// The one EXIF tag that changes pixels. A TIFF header, then a directory of 12-byte entries; every offset is
// checked.
#include <algorithm>
#include <cstdint>

#include "engine/data/codecs.h"

namespace residuum {
namespace {

/// Numbers of a TIFF block in its byte order; reads past the end give 0.
class TiffReader {
 public:
  explicit TiffReader(std::span<const std::byte> bytes)
      : bytes_(bytes),
        little_(bytes.size() >= 2 && bytes[0] == std::byte{'I'} && bytes[1] == std::byte{'I'}) {}

  uint32_t number(size_t offset, size_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      value = value << 8 | std::to_integer<uint32_t>(bytes_[offset + (little_ ? size - 1 - i : i)]);
    }
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
  bool little_;
};

}  // namespace

int exif_orientation(std::span<const std::byte> exif) {
  constexpr uint32_t kTiffMagic = 42, kOrientationTag = 0x0112, kShortType = 3;
  const TiffReader tiff(exif);
  if (tiff.number(2, 2) != kTiffMagic) return 1;
  const size_t directory = tiff.number(4, 4);
  const size_t entries = tiff.number(directory, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;
    if (tiff.number(entry, 2) != kOrientationTag || tiff.number(entry + 2, 2) != kShortType) continue;
    const uint32_t value = tiff.number(entry + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace residuum
