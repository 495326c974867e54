// Images in memory: uint8, rows of interleaved channels (HWC), no padding between rows; and the decoder of
// image files. Pixels equal those of Pillow (PIL) built on the same libjpeg-turbo, so that accuracies compare
// with torchvision's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace residuum {

struct ImageShape {
  int height = 0, width = 0, channels = 0;

  int64_t bytes() const { return int64_t{height} * width * channels; }
  bool operator==(const ImageShape&) const = default;
};

/// "32x32x3": height, width, channels.
std::string to_string(const ImageShape& shape);

struct Image {
  int height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;  ///< [height, width, channels]

  ImageShape shape() const { return {height, width, channels}; }
  /// Sets the shape and sizes `pixels` to it; the contents are unspecified.
  void reshape(const ImageShape& shape);
  bool operator==(const Image&) const = default;
};

/// A rectangle of an image that somebody else owns; a copy of the view shares the pixels.
struct ImageView {
  const uint8_t* pixels = nullptr;  ///< first pixel of row 0
  int height = 0, width = 0, channels = 0;
  int64_t stride = 0;  ///< bytes from one row to the next

  ImageView() = default;
  ImageView(const Image& image);  // NOLINT: an image is a view of all of itself
  const uint8_t* row(int y) const { return pixels + y * stride; }
  /// The rectangle of rows [top, top + rows) and columns [left, left + columns), which must lie inside.
  ImageView crop(int top, int left, int rows, int columns) const;
};

struct DecodeOptions {
  int64_t max_pixels = 178'956'970;  ///< larger images are refused, as Pillow refuses "decompression bombs"
  int max_scans = 100;               ///< progressive JPEGs with more scans are refused
  bool apply_orientation =
      false;  ///< turn the image as its EXIF orientation says (Pillow's ImageFolder does not)
};

/// Decodes a JPEG or a PNG, told apart by content; `channels` is 1 (grey, ITU-R 601 luma) or 3 (RGB).
///
/// As in Pillow: CMYK and YCCK JPEGs count as Adobe's inverted kind, alpha is dropped, a JPEG is complete
/// when its last row is (a missing end marker is forgiven, missing data is not). Unlike Pillow, 16-bit grey
/// PNGs keep their high byte (Pillow clips them at 255) and a PNG without its end is refused. Throws
/// Error(kData) for anything corrupt, truncated, of an unknown format or over the limits; the limits are
/// tested before pixels are allocated.
Image decode_image(std::span<const std::byte> file, int channels, const DecodeOptions& options = {});

}  // namespace residuum
