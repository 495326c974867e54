// The two decoders behind decode_image: libjpeg-turbo and libpng, held to Pillow's settings. Both report
// every failure of their library as Error(kData); nothing of the libraries' types leaves the .cpp files.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/data/image.h"

namespace residuum {

/// A decoded file: grey or RGB as it was stored, and the EXIF block (TIFF header first) if the options ask
/// for it.
struct DecodedImage {
  Image image;
  std::vector<std::byte> exif;
};

/// True if the bytes start as a JPEG file does (FF D8 FF).
bool is_jpeg(std::span<const std::byte> file);
/// Decodes a JPEG to grey (one component) or RGB (three, or four taken as Adobe's inverted CMYK).
DecodedImage decode_jpeg(std::span<const std::byte> file, const DecodeOptions& options);

/// True if the bytes start with the PNG signature.
bool is_png(std::span<const std::byte> file);
/// Decodes a PNG to 8-bit grey or RGB: palettes expanded, alpha dropped, 16 bits cut to the high byte.
DecodedImage decode_png(std::span<const std::byte> file, const DecodeOptions& options);

/// The orientation tag (1 to 8) of an EXIF block, 1 if it is absent or the block is damaged.
int exif_orientation(std::span<const std::byte> exif);

}  // namespace residuum
