// CIFAR-10 and CIFAR-100 binary files: fixed-size records of label bytes and three 32x32 planes (R, G, B).
// Format: https://www.cs.toronto.edu/~kriz/cifar.html. A file is a whole, non-zero number of records.
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

/// The two record layouts: where the label is, and how many classes it may name.
struct CifarFormat {
  int label_bytes = 1;  ///< before the planes; the last of them is the label (CIFAR-100: coarse, fine)
  int classes = 10;
};
inline constexpr CifarFormat kCifar10{1, 10};
inline constexpr CifarFormat kCifar100{2, 100};

/// Appends the records of one file, planes interleaved to [n, 32, 32, 3], to `pixels` and `labels`.
/// Throws Error(kData) naming `name` for a size that is no multiple of the record, or a label out of range.
void parse_cifar(std::span<const std::byte> file, const CifarFormat& format, const std::string& name,
                 std::vector<uint8_t>& pixels, std::vector<int32_t>& labels);

/// Opens the CIFAR files of `split` in `root` or its usual sub-folder; null if there are none of either
/// split.
std::unique_ptr<Dataset> open_cifar(const std::filesystem::path& root, Split split);

}  // namespace residuum
