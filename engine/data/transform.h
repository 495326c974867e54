// Augmentation and evaluation transforms on uint8 images, as torchvision defines them on PIL images.
// Normalisation is not done here: the graph's first operation does it. Randomness comes from the stream
// given, drawn in documented order.
#pragma once

#include <variant>

#include "engine/core/random.h"
#include "engine/data/image.h"

namespace residuum {

/// The image as it is.
struct KeepImage {
  bool operator==(const KeepImage&) const = default;
};

/// CIFAR augmentation: zero padding on all sides, a random crop of the original size, a random horizontal
/// flip. Draws: top, left, flip.
struct PadCropFlip {
  int pad = 4;
  bool flip = true;
  bool operator==(const PadCropFlip&) const = default;
};

/// The window of an image that a PadCropFlip shows: rows from `top`, columns from `left`, black outside of
/// the image, mirrored when `flip` is 1.
struct ImageWindow {
  int32_t top = 0, left = 0, flip = 0;
  bool operator==(const ImageWindow&) const = default;
};
/// Draws top, left and, when the transform flips, flip.
ImageWindow draw_window(const PadCropFlip& transform, RandomStream& random);

/// ImageNet augmentation: torchvision's RandomResizedCrop to size x size, then a random horizontal flip.
/// Draws: area and log ratio for up to ten tries, then top and left, then flip.
struct RandomResizedCrop {
  int size = 224;
  double min_scale = 0.08, max_scale = 1.0;         ///< of the image's area
  double min_ratio = 3.0 / 4, max_ratio = 4.0 / 3;  ///< width / height
  bool flip = true;
  bool operator==(const RandomResizedCrop&) const = default;
};

/// Evaluation: the short side resized to `resize_short`, then the central crop x crop. Draws nothing.
struct ResizeCenterCrop {
  int resize_short = 256;
  int crop = 224;
  bool operator==(const ResizeCenterCrop&) const = default;
};

using Transform = std::variant<KeepImage, PadCropFlip, RandomResizedCrop, ResizeCenterCrop>;

/// Throws Error(kConfig) naming the field, the value and the range, if a field is out of its range.
void validate(const Transform& transform);

/// The shape of the result for an input of shape `input`.
ImageShape output_shape(const Transform& transform, const ImageShape& input);

/// Writes the transformed image to `output`, which has output_shape(transform, image.shape()).bytes() bytes.
/// Throws Error(kData) for a strip whose long side would be resized to more than 2^30 pixels.
void apply(const Transform& transform, ImageView image, RandomStream& random, uint8_t* output);

/// The transformed image.
Image apply(const Transform& transform, const Image& image, RandomStream& random);

}  // namespace residuum
