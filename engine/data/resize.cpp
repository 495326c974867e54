// Pillow's resampling. The weights are computed in double and rounded to 22-bit fixed point exactly as there:
// a rearranged formula changes last bits.
#include "engine/data/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/core/check.h"

namespace residuum {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);

/// A range of rows or columns: [first, first + count).
struct Range {
  int first, count;
};

/// Weights of one pass: output i is the sum of weights[i * taps + k] * input[first[i] + k], k < count[i].
struct Filter {
  int taps = 0;
  std::vector<int> first, count;
  std::vector<int32_t> weights;

  int outputs() const { return static_cast<int>(first.size()); }
  /// The inputs that any output reads.
  Range inputs() const { return {first.front(), first.back() + count.back() - first.front()}; }
};

double triangle(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

/// The outputs `range` of a pass from [in_first, in_last) of `in_size` inputs to `out_size` outputs.
Filter make_filter(int in_size, float in_first, float in_last, int out_size, Range range) {
  const double scale = double(in_last - in_first) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = filter_scale;  // the triangle's support is 1
  const double inverse_scale = 1.0 / filter_scale;

  Filter filter;
  filter.taps = static_cast<int>(std::ceil(support)) * 2 + 1;
  const size_t taps = static_cast<size_t>(filter.taps), outputs = static_cast<size_t>(range.count);
  filter.first.resize(outputs);
  filter.count.resize(outputs);
  filter.weights.assign(taps * outputs, 0);
  std::vector<double> row(taps);
  for (size_t i = 0; i < outputs; ++i) {
    const double center = in_first + (range.first + static_cast<int>(i) + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int count = std::min(in_size, static_cast<int>(center + support + 0.5)) - first;
    double sum = 0;
    for (int k = 0; k < count; ++k) {
      row[k] = triangle((k + first - center + 0.5) * inverse_scale);
      sum += row[k];
    }
    for (int k = 0; k < count; ++k) {
      const double weight = sum != 0.0 ? row[k] / sum : row[k];
      filter.weights[i * taps + static_cast<size_t>(k)] =
          static_cast<int32_t>(0.5 + weight * (1 << kPrecisionBits));
    }
    filter.first[i] = first;
    filter.count[i] = count;
  }
  return filter;
}

/// Weights are not negative and add up to about one, so only the upper bound needs clipping.
uint8_t to_byte(int32_t sum) {
  return static_cast<uint8_t>(std::min(sum >> kPrecisionBits, 255));
}

/// One row of the horizontal pass.
template <int kChannels>
void resample_row(const uint8_t* in, const Filter& filter, int width, uint8_t* out) {
  for (int x = 0; x < width; ++x, out += kChannels) {
    const uint8_t* pixel = in + int64_t{filter.first[x]} * kChannels;
    const int32_t* weights = filter.weights.data() + int64_t{x} * filter.taps;
    int32_t sums[kChannels];
    std::fill_n(sums, kChannels, kHalf);
    for (int k = 0; k < filter.count[x]; ++k, pixel += kChannels) {
      for (int c = 0; c < kChannels; ++c) sums[c] += pixel[c] * weights[k];
    }
    for (int c = 0; c < kChannels; ++c) out[c] = to_byte(sums[c]);
  }
}

/// The rows `range` of `image` through `filter`.
Image resample_horizontal(ImageView image, const Filter& filter, Range range) {
  Image out;
  out.reshape({range.count, filter.outputs(), image.channels});
  const int64_t row_bytes = int64_t{out.width} * out.channels;
  const auto row_function = image.channels == 1 ? resample_row<1> : resample_row<3>;
  for (int y = 0; y < range.count; ++y) {
    row_function(image.row(range.first + y), filter, out.width, out.pixels.data() + y * row_bytes);
  }
  return out;
}

/// All columns of `image`, whose row 0 is the filter's input `first_row`.
Image resample_vertical(ImageView image, const Filter& filter, int first_row) {
  Image out;
  out.reshape({filter.outputs(), image.width, image.channels});
  const int64_t row_bytes = int64_t{image.width} * image.channels;
  std::vector<int32_t> sums(static_cast<size_t>(row_bytes));
  for (int y = 0; y < out.height; ++y) {
    std::fill(sums.begin(), sums.end(), kHalf);
    const int32_t* weights = filter.weights.data() + int64_t{y} * filter.taps;
    for (int k = 0; k < filter.count[y]; ++k) {
      const uint8_t* row = image.row(filter.first[y] - first_row + k);
      const int32_t weight = weights[k];
      for (int64_t i = 0; i < row_bytes; ++i) sums[i] += row[i] * weight;
    }
    uint8_t* to = out.pixels.data() + y * row_bytes;
    for (int64_t i = 0; i < row_bytes; ++i) to[i] = to_byte(sums[i]);
  }
  return out;
}

Image copy(ImageView image) {
  Image out;
  out.reshape({image.height, image.width, image.channels});
  const int64_t row_bytes = int64_t{image.width} * image.channels;
  for (int y = 0; y < image.height; ++y) {
    std::memcpy(out.pixels.data() + y * row_bytes, image.row(y), static_cast<size_t>(row_bytes));
  }
  return out;
}

/// The size of a whole result and the part of it that is wanted.
struct Target {
  int height, width;
  Range rows, columns;
};

/// Both passes, each left out where it would change nothing.
Image resample(ImageView image, const ResizeBox& box, const Target& target) {
  const auto is = [](float a, int b) { return a == static_cast<float>(b); };
  const bool horizontal = target.width != image.width || !is(box.left, 0) || !is(box.right, target.width);
  const bool vertical = target.height != image.height || !is(box.top, 0) || !is(box.bottom, target.height);
  const Range all_rows = vertical ? Range{0, image.height} : target.rows;
  if (!horizontal)
    image = image.crop(all_rows.first, target.columns.first, all_rows.count, target.columns.count);
  if (!horizontal && !vertical) return copy(image);

  Filter rows, columns;
  if (vertical) rows = make_filter(image.height, box.top, box.bottom, target.height, target.rows);
  if (!horizontal) return resample_vertical(image, rows, 0);
  columns = make_filter(image.width, box.left, box.right, target.width, target.columns);
  if (!vertical) return resample_horizontal(image, columns, target.rows);
  const Image between = resample_horizontal(image, columns, rows.inputs());
  return resample_vertical(between, rows, rows.inputs().first);
}

Image checked_resample(ImageView image, const ResizeBox& box, const Target& target) {
  const auto image_height = static_cast<float>(image.height), image_width = static_cast<float>(image.width);
  check(target.height >= 1 && target.width >= 1, ErrorKind::kShape, "resize to {}x{}: at least 1x1 needed",
        target.height, target.width);
  check(image.height >= 1 && image.width >= 1 && (image.channels == 1 || image.channels == 3),
        ErrorKind::kShape, "resize of {}x{}x{}: at least 1x1 and 1 or 3 channels needed", image.height,
        image.width, image.channels);
  check(box.left >= 0 && box.top >= 0 && box.right <= image_width && box.bottom <= image_height &&
            box.left < box.right && box.top < box.bottom,
        ErrorKind::kShape, "resize box ({}, {}, {}, {}) is empty or outside the image of {}x{}", box.left,
        box.top, box.right, box.bottom, image.height, image.width);
  return resample(image, box, target);
}

}  // namespace

Image resize(ImageView image, int height, int width, std::optional<ResizeBox> box) {
  const ResizeBox whole{0, 0, static_cast<float>(image.width), static_cast<float>(image.height)};
  return checked_resample(image, box.value_or(whole), {height, width, {0, height}, {0, width}});
}

Image resize_and_crop(ImageView image, int height, int width, int top, int left, int rows, int columns) {
  check(top >= 0 && left >= 0 && rows >= 1 && columns >= 1 && rows <= height - top && columns <= width - left,
        ErrorKind::kShape, "crop of rows {} + {} and columns {} + {} is empty or outside {}x{}", top, rows,
        left, columns, height, width);
  const ResizeBox whole{0, 0, static_cast<float>(image.width), static_cast<float>(image.height)};
  return checked_resample(image, whole, {height, width, {top, rows}, {left, columns}});
}

}  // namespace residuum
