// IDX files of MNIST, Fashion-MNIST and their kin: big-endian header, then unsigned bytes; plain or gzip by
// content. Format: http://yann.lecun.com/exdb/mnist. The file size must equal the header's product exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/data/dataset.h"

namespace residuum {

struct IdxImages {
  int64_t count = 0;
  int height = 0, width = 0;
  std::vector<uint8_t> pixels;  ///< [count, height, width]
};

/// Parses an IDX image file (magic 0x803). Throws Error(kData) naming `name`, the value found and the one
/// allowed.
IdxImages parse_idx_images(std::span<const std::byte> file, const std::string& name);

/// Parses an IDX label file (magic 0x801). Errors as parse_idx_images.
std::vector<uint8_t> parse_idx_labels(std::span<const std::byte> file, const std::string& name);

/// Opens the IDX pair of `split` in `root`; null if `root` holds no IDX file of either split.
std::unique_ptr<Dataset> open_idx(const std::filesystem::path& root, Split split);

}  // namespace residuum
