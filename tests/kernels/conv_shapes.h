// The convolutions that tests of the kernels run: they cover every tile and every kind of patch.
#pragma once

#include <vector>

#include "kernels/shapes.h"
#include "tests/support/random_tensor.h"

namespace residuum {

inline const std::vector<ConvShape> kConvShapes = {
    // n, h, w, c, k, r, s, stride, pad, groups
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 1},        // one pixel
    {2, 9, 7, 3, 40, 7, 7, 2, 3, 1},       // a stem
    {2, 5, 7, 16, 16, 3, 3, 1, 1, 1},      // halo, several images in a tile
    {1, 11, 13, 32, 32, 3, 3, 1, 1, 1},    // halo, several tiles in an image
    {2, 7, 5, 24, 40, 3, 3, 2, 1, 1},      // parity classes of four, two and one taps
    {2, 6, 6, 64, 72, 1, 1, 2, 0, 1},      // pixels that no tap reaches
    {67, 16, 16, 8, 256, 1, 1, 1, 0, 1},   // the wide tile
    {35, 22, 22, 16, 128, 3, 3, 1, 1, 1},  // the wide tile with a halo
    {1, 5, 5, 8, 8, 5, 5, 1, 3, 1},        // more output than source pixels
    {2, 5, 5, 32, 48, 3, 3, 1, 1, 2},      // groups of chunks
    {2, 5, 5, 6, 9, 2, 3, 2, 1, 3},        // groups of odd size
    {2, 4, 5, 16, 16, 1, 1, 1, 0, 1},      // 1x1 of few channels
    {1, 6, 5, 48, 64, 3, 3, 1, 1, 1},      // the medium tile with all weights beside a patch
    {67, 32, 32, 8, 8, 3, 3, 1, 1, 1},     // the same of the slim tile, two tiles of rows a block
    {1, 6, 5, 168, 64, 3, 3, 1, 1, 1},     // whose weights are too many
    {1, 6, 5, 64, 168, 3, 3, 1, 1, 1},     // backward, too
    {3, 1, 1, 128, 128, 1, 1, 1, 0, 1},    // a linear layer
};
/// Convolutions of few channels that cut their pixels out of whole source lines: windows of one to three
/// groups that begin at even elements and at any, lines that are whole chunks and lines that are not.
inline const std::vector<ConvShape> kLineShapes = {
    {8, 1, 1, 1, 8, 1, 1, 1, 0, 1},       // images of one pixel
    {1, 1, 8, 3, 16, 1, 7, 1, 3, 1},      // one line
    {1, 8, 1, 3, 16, 7, 1, 1, 3, 1},      // one column
    {1, 30, 32, 3, 64, 7, 7, 2, 3, 1},    // a stem; two tiles, the border within a line
    {2, 17, 16, 3, 72, 7, 7, 2, 3, 1},    // images border within a tile; two tiles of columns
    {2, 11, 12, 3, 16, 3, 3, 1, 1, 1},    // CIFAR's first layer, but for lines that are no whole chunks
    {8, 7, 13, 1, 24, 3, 3, 1, 1, 1},     // lines of an odd length
    {8, 29, 3, 7, 8, 3, 3, 1, 1, 1},      // seven channels
    {4, 9, 14, 5, 40, 3, 3, 1, 0, 1},     // no padding
    {2, 14, 14, 4, 32, 5, 5, 3, 2, 1},    // stride 3
    {2, 19, 10, 2, 8, 5, 5, 3, 1, 1},     // lines and columns that no tap reaches
    {4, 12, 6, 6, 16, 2, 4, 2, 1, 1},     // an even number of kernel lines
    {2, 13, 22, 2, 40, 7, 7, 2, 3, 1},    // windows of two groups at even elements
    {4, 5, 7, 2, 16, 3, 3, 2, 1, 1},      // and of one
    {24, 27, 27, 1, 200, 5, 5, 1, 2, 1},  // runs of three tiles
    {48, 27, 27, 1, 200, 5, 5, 1, 2, 1},  // and of five
};
/// What every type and the emulator's race detector run: everything but the wide tile, which bf16 stands for.
inline constexpr int64_t kMostMacs = int64_t{4} << 20;

/// Numbers in [-2, 2].
inline reference::Tensor small_integers(const Shape& shape, uint64_t seed) {
  reference::Tensor tensor = integer_tensor(shape, seed, 5);
  for (double& value : tensor.data) value -= 2;
  return tensor;
}

}  // namespace residuum
