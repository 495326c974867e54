// torchvision's rounding is kept to the letter: Python's round() is to even, int() cuts, // floors.
#include "engine/data/transform.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/core/check.h"
#include "engine/data/resize.h"

namespace residuum {
namespace {

/// Pixel sizes above this are mistakes, and keep int arithmetic safe.
constexpr int kMaxSize = 16384;

struct Box {
  int top, left, height, width;
};

/// Python's round(): to even at one half, in the default rounding mode.
int round_to_even(double value) {
  return static_cast<int>(std::nearbyint(value));
}

int draw_below(RandomStream& random, int bound) {
  return static_cast<int>(random.uniform_below(static_cast<uint32_t>(bound)));
}

double draw_between(RandomStream& random, double low, double high) {
  return low + (high - low) * random.uniform_double();
}

bool draw_flip(RandomStream& random) {
  return random.uniform() < 0.5f;
}

void copy_reversed(const uint8_t* from, int count, int channels, uint8_t* to) {
  for (int x = 0; x < count; ++x) {
    for (int c = 0; c < channels; ++c) to[x * channels + c] = from[(count - 1 - x) * channels + c];
  }
}

void flip_rows(uint8_t* pixels, const ImageShape& shape) {
  const int64_t row_bytes = int64_t{shape.width} * shape.channels;
  for (int y = 0; y < shape.height; ++y) {
    uint8_t* row = pixels + y * row_bytes;
    for (int x = 0, mirror = shape.width - 1; x < mirror; ++x, --mirror) {
      std::swap_ranges(row + x * shape.channels, row + (x + 1) * shape.channels,
                       row + mirror * shape.channels);
    }
  }
}

void copy_image(ImageView image, uint8_t* output) {
  const size_t row_bytes = static_cast<size_t>(image.width) * static_cast<size_t>(image.channels);
  for (int y = 0; y < image.height; ++y, output += row_bytes) std::memcpy(output, image.row(y), row_bytes);
}

/// The crop of torchvision's RandomResizedCrop.get_params.
Box random_box(const RandomResizedCrop& t, int height, int width, RandomStream& random) {
  const double area = double(height) * width;
  const double low = std::log(t.min_ratio), high = std::log(t.max_ratio);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * draw_between(random, t.min_scale, t.max_scale);
    const double ratio = std::exp(draw_between(random, low, high));
    const int w = round_to_even(std::sqrt(target * ratio));
    const int h = round_to_even(std::sqrt(target / ratio));
    if (w > 0 && w <= width && h > 0 && h <= height) {
      const int top = draw_below(random, height - h + 1);
      const int left = draw_below(random, width - w + 1);
      return {top, left, h, w};
    }
  }
  int h = height, w = width;
  const double in_ratio = double(width) / height;
  if (in_ratio < t.min_ratio) {
    h = round_to_even(w / t.min_ratio);
  } else if (in_ratio > t.max_ratio) {
    w = round_to_even(h * t.max_ratio);
  }
  h = std::clamp(h, 1, height);
  w = std::clamp(w, 1, width);
  return {(height - h) / 2, (width - w) / 2, h, w};
}

/// One implementation of apply() for each kind of transform.
struct Apply {
  ImageView image;
  RandomStream& random;
  uint8_t* output;

  void operator()(const KeepImage&) const { copy_image(image, output); }

  void operator()(const PadCropFlip& t) const {
    const auto [top, left, flip] = draw_window(t, random);
    const int width = image.width, channels = image.channels;
    const int64_t row_bytes = int64_t{width} * channels;
    // Columns [x_first, x_last) of the crop lie inside the image; a flip mirrors them.
    const int x_first = std::clamp(-left, 0, width), x_last = std::clamp(width - left, 0, width);
    const int count = std::max(0, x_last - x_first);
    const int64_t before = int64_t{flip != 0 ? width - x_last : x_first} * channels;
    for (int y = 0; y < image.height; ++y) {
      uint8_t* row = output + y * row_bytes;
      const int source_y = y + top;
      if (source_y < 0 || source_y >= image.height || count == 0) {
        std::memset(row, 0, static_cast<size_t>(row_bytes));
        continue;
      }
      const int64_t bytes = int64_t{count} * channels;
      const uint8_t* from = image.row(source_y) + int64_t{x_first + left} * channels;
      std::memset(row, 0, static_cast<size_t>(before));
      if (flip != 0) {
        copy_reversed(from, count, channels, row + before);
      } else {
        std::memcpy(row + before, from, static_cast<size_t>(bytes));
      }
      std::memset(row + before + bytes, 0, static_cast<size_t>(row_bytes - before - bytes));
    }
  }

  void operator()(const RandomResizedCrop& t) const {
    const Box box = random_box(t, image.height, image.width, random);
    const Image resized = resize(image.crop(box.top, box.left, box.height, box.width), t.size, t.size);
    std::memcpy(output, resized.pixels.data(), resized.pixels.size());
    if (t.flip && draw_flip(random)) flip_rows(output, resized.shape());
  }

  static constexpr int kLongestSide = 1 << 30;  ///< of a strip that is resized
  void operator()(const ResizeCenterCrop& t) const {
    const int64_t size = t.resize_short, height = image.height, width = image.width;
    // int(size * long / short): the division is done in double, as in Python.
    const auto long_side = [&](int64_t l, int64_t s) {
      const double side = double(size * l) / double(s);
      check(side <= kLongestSide, ErrorKind::kData,
            "an image of {}x{} with its short side resized to {} has a long one of {:.0f}, allowed are {}",
            height, width, size, side, kLongestSide);
      return static_cast<int>(side);
    };
    const int new_height = height < width ? t.resize_short : long_side(height, width);
    const int new_width = height < width ? long_side(width, height) : t.resize_short;
    const int top = round_to_even((new_height - t.crop) / 2.0);
    const int left = round_to_even((new_width - t.crop) / 2.0);
    const Image cropped = resize_and_crop(image, new_height, new_width, top, left, t.crop, t.crop);
    std::memcpy(output, cropped.pixels.data(), cropped.pixels.size());
  }
};

struct Validate {
  static void size(const char* name, int value, int low) {
    check(value >= low && value <= kMaxSize, ErrorKind::kConfig, "{} is {}, allowed are {} to {}", name,
          value, low, kMaxSize);
  }
  void operator()(const KeepImage&) const {}
  void operator()(const PadCropFlip& t) const { size("pad_crop_flip.pad", t.pad, 0); }
  void operator()(const RandomResizedCrop& t) const {
    size("random_resized_crop.size", t.size, 1);
    check(t.min_scale > 0 && t.min_scale <= t.max_scale && t.max_scale <= 1, ErrorKind::kConfig,
          "random_resized_crop.scale is {} to {}, allowed are 0 < min <= max <= 1", t.min_scale, t.max_scale);
    check(t.min_ratio > 0 && t.min_ratio <= t.max_ratio && t.max_ratio <= 100, ErrorKind::kConfig,
          "random_resized_crop.ratio is {} to {}, allowed are 0 < min <= max <= 100", t.min_ratio,
          t.max_ratio);
  }
  void operator()(const ResizeCenterCrop& t) const {
    size("resize_center_crop.crop", t.crop, 1);
    size("resize_center_crop.resize_short", t.resize_short, t.crop);
  }
};

}  // namespace

ImageWindow draw_window(const PadCropFlip& transform, RandomStream& random) {
  ImageWindow window;
  window.top = draw_below(random, 2 * transform.pad + 1) - transform.pad;
  window.left = draw_below(random, 2 * transform.pad + 1) - transform.pad;
  window.flip = transform.flip && draw_flip(random) ? 1 : 0;
  return window;
}

void validate(const Transform& transform) {
  std::visit(Validate{}, transform);
}

ImageShape output_shape(const Transform& transform, const ImageShape& input) {
  if (const auto* t = std::get_if<RandomResizedCrop>(&transform)) return {t->size, t->size, input.channels};
  if (const auto* t = std::get_if<ResizeCenterCrop>(&transform)) return {t->crop, t->crop, input.channels};
  return input;
}

void apply(const Transform& transform, ImageView image, RandomStream& random, uint8_t* output) {
  std::visit(Apply{image, random, output}, transform);
}

Image apply(const Transform& transform, const Image& image, RandomStream& random) {
  Image result;
  result.reshape(output_shape(transform, image.shape()));
  apply(transform, ImageView(image), random, result.pixels.data());
  return result;
}

}  // namespace residuum
