// Image files of made-up pixels: what benchmarks and tests of decoding read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/data/image.h"

namespace residuum::bench {

using Bytes = std::vector<uint8_t>;

/// A JPEG of an RGB image by libjpeg's default settings.
Bytes encode_jpeg(const Image& image);

/// A PNG of `rows` equal parts of `data`, 16-bit samples in big-endian order.
Bytes encode_png(uint32_t width, uint32_t rows, int bit_depth, int color_type, bool interlaced,
                 const Bytes& data);

/// A data set for bench data, and what it is.
struct MadeUpData {
  std::string format;  ///< "jpeg 500x375"
  std::filesystem::path path;
};
/// Writes a small data set of each format below `folder`: JPEGs and PNGs in class folders, CIFAR-10, IDX.
std::vector<MadeUpData> write_made_up_data(const std::filesystem::path& folder);

}  // namespace residuum::bench
