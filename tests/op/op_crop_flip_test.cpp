// Image windows against the reference: inside, over every edge, far outside, mirrored.
#include <gtest/gtest.h>

#include <fmt/core.h>

#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using reference::Tensor;

/// Corners in [-reach, reach], every other image mirrored.
Tensor windows_of(int64_t images, uint32_t reach) {
  Tensor windows = integer_tensor({images, 3}, 5, 2 * reach + 1);
  for (int64_t n = 0; n < images; ++n) {
    windows[n * 3] -= reach;
    windows[n * 3 + 1] -= reach;
    windows[n * 3 + 2] = static_cast<double>(n % 2);
  }
  return windows;
}

TEST(OpCropFlip, Windows) {
  for (const Shape& shape :
       {Shape{1, 1, 1, 1}, Shape{3, 5, 7, 3}, Shape{37, 8, 8, 1}, Shape{70, 32, 32, 3}}) {
    for (const CropFlip& op : {CropFlip{shape[1], shape[2]}, CropFlip{3, 4}, CropFlip{9, 11}}) {
      for (const uint32_t reach : {0u, 4u, 40u}) {
        OpCase test{fmt::format("{} to {}x{}, reach {}", to_string(shape), op.height, op.width, reach),
                    op,
                    {},
                    {kExact}};
        test.input(DType::kU8, integer_tensor(shape, 1, 256));
        expect_case(test.input(DType::kI32, windows_of(shape[0], reach)));
      }
    }
  }
}

TEST(OpCropFlip, KnownWindow) {
  const Tensor image({1, 2, 3, 1}, {1, 2, 3, 4, 5, 6});
  const Tensor plain = reference::crop_flip({2, 3}, image, Tensor({1, 3}, {1, -1, 0}));
  EXPECT_EQ(plain.data, (std::vector<double>{0, 4, 5, 0, 0, 0}));
  const Tensor mirrored = reference::crop_flip({2, 3}, image, Tensor({1, 3}, {1, -1, 1}));
  EXPECT_EQ(mirrored.data, (std::vector<double>{5, 4, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace residuum
