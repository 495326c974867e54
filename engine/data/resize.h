// Antialiased bilinear resize, bit for bit Pillow's: separable, fixed point with 22 fraction bits, horizontal
// pass first, rounded to uint8 between the passes. A different resize costs 0.1 to 1 point of accuracy
// against torchvision.
#pragma once

#include <optional>

#include "engine/data/image.h"

namespace residuum {

/// A rectangle of the source in pixel coordinates; the edges may be fractional. Single precision, as in
/// Pillow.
struct ResizeBox {
  float left = 0, top = 0, right = 0, bottom = 0;
};

/// `image` resized to height x width: PIL.Image.resize((width, height), BILINEAR, box).
///
/// With a box, only that rectangle is scaled, but pixels around it contribute at its edges; to cut first, as
/// torchvision's resized_crop does, pass image.crop(...) and no box. Throws Error(kShape) for an empty size
/// or a box that is empty or reaches outside the image. Source: src/libImaging/Resample.c of Pillow up to 12
/// (13 exchanges the passes where that is cheaper, which changes some pixels by one or a few).
Image resize(ImageView image, int height, int width, std::optional<ResizeBox> box = std::nullopt);

/// The rectangle of rows [top, top + rows) and columns [left, left + columns) of resize(image, height,
/// width), computed alone: the cost is that of the rectangle however long the resized image is. Errors as
/// resize.
Image resize_and_crop(ImageView image, int height, int width, int top, int left, int rows, int columns);

}  // namespace residuum
