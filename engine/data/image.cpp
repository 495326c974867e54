// decode_image: format by content, orientation, and the number of channels asked for.
#include "engine/data/image.h"

#include <utility>

#include "engine/core/check.h"
#include "engine/data/codecs.h"

namespace residuum {
namespace {

/// The image turned so that its row 0, column 0 are where EXIF `orientation` (2 to 8) says: 2 mirrors left to
/// right, 3 turns by 180 degrees, 4 mirrors top to bottom, 5 to 8 also exchange rows and columns.
Image reoriented(const Image& image, int orientation) {
  const bool exchange = orientation >= 5;
  const bool reverse_rows = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  const bool reverse_columns = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  Image out;
  out.reshape({exchange ? image.width : image.height, exchange ? image.height : image.width, image.channels});
  uint8_t* to = out.pixels.data();
  for (int y = 0; y < out.height; ++y) {
    const int v = reverse_rows ? out.height - 1 - y : y;
    for (int x = 0; x < out.width; ++x) {
      const int u = reverse_columns ? out.width - 1 - x : x;
      const int64_t pixel = exchange ? int64_t{u} * image.width + v : int64_t{v} * image.width + u;
      for (int c = 0; c < image.channels; ++c)
        *to++ = image.pixels[static_cast<size_t>(pixel * image.channels + c)];
    }
  }
  return out;
}

Image grey_to_rgb(const Image& grey) {
  Image rgb;
  rgb.reshape({grey.height, grey.width, 3});
  for (size_t i = 0; i < grey.pixels.size(); ++i) {
    for (size_t c = 0; c < 3; ++c) rgb.pixels[3 * i + c] = grey.pixels[i];
  }
  return rgb;
}

/// ITU-R 601 luma in Pillow's 16-bit fixed point.
Image rgb_to_grey(const Image& rgb) {
  Image grey;
  grey.reshape({rgb.height, rgb.width, 1});
  for (size_t i = 0; i < grey.pixels.size(); ++i) {
    const uint8_t* from = &rgb.pixels[3 * i];
    grey.pixels[i] =
        static_cast<uint8_t>((from[0] * 19595 + from[1] * 38470 + from[2] * 7471 + 0x8000) >> 16);
  }
  return grey;
}

DecodedImage decode_by_content(std::span<const std::byte> file, const DecodeOptions& options) {
  check(!file.empty(), ErrorKind::kData, "image file is empty");
  if (is_jpeg(file)) return decode_jpeg(file, options);
  if (is_png(file)) return decode_png(file, options);
  fail(ErrorKind::kData, "image file of {} bytes is neither JPEG nor PNG", file.size());
}

}  // namespace

std::string to_string(const ImageShape& shape) {
  return fmt::format("{}x{}x{}", shape.height, shape.width, shape.channels);
}

void Image::reshape(const ImageShape& shape) {
  height = shape.height;
  width = shape.width;
  channels = shape.channels;
  pixels.resize(static_cast<size_t>(shape.bytes()));
}

ImageView::ImageView(const Image& image)
    : pixels(image.pixels.data()),
      height(image.height),
      width(image.width),
      channels(image.channels),
      stride(int64_t{image.width} * image.channels) {}

ImageView ImageView::crop(int top, int left, int rows, int columns) const {
  check(top >= 0 && left >= 0 && rows >= 1 && columns >= 1 && rows <= height - top && columns <= width - left,
        ErrorKind::kShape, "crop of rows {} + {} and columns {} + {} is empty or outside {}x{}", top, rows,
        left, columns, height, width);
  ImageView view = *this;
  view.pixels += top * stride + int64_t{left} * channels;
  view.height = rows;
  view.width = columns;
  return view;
}

Image decode_image(std::span<const std::byte> file, int channels, const DecodeOptions& options) {
  check(channels == 1 || channels == 3, ErrorKind::kConfig, "channels is {}, allowed are 1 and 3", channels);
  DecodedImage decoded = decode_by_content(file, options);
  Image image = std::move(decoded.image);
  const int orientation = options.apply_orientation ? exif_orientation(decoded.exif) : 1;
  if (orientation != 1) image = reoriented(image, orientation);
  if (image.channels == channels) return image;
  return channels == 3 ? grey_to_rgb(image) : rgb_to_grey(image);
}

}  // namespace residuum
