// Transforms against slow references that follow torchvision's text, and the rounding at its edges.
#include "engine/data/transform.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/data/resize.h"
#include "tests/support/data_fixtures.h"

namespace residuum {
namespace {

using namespace fixtures;

Image noise(int height, int width, int channels, uint32_t seed) {
  Image image{height, width, channels, {}};
  image.pixels = generated_bytes(seed, static_cast<size_t>(image.shape().bytes()));
  return image;
}

RandomStream stream(uint64_t index) {
  return RandomStream(11, RandomPurpose::kAugment, 3, index);
}

template <typename AnyImage>
auto& at(AnyImage& image, int y, int x, int c) {
  return image.pixels[static_cast<size_t>((y * image.width + x) * image.channels + c)];
}

Image cut(const Image& image, int top, int left, int height, int width) {
  Image out;
  out.reshape({height, width, image.channels});
  for (int y = 0; y < height; ++y) {
    const uint8_t* row = ImageView(image).row(top + y) + left * image.channels;
    std::copy(row, row + width * image.channels, out.pixels.begin() + y * width * image.channels);
  }
  return out;
}

Image mirrored(const Image& image) {
  Image out = image;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < image.channels; ++c) at(out, y, image.width - 1 - x, c) = at(image, y, x, c);
    }
  }
  return out;
}

Image padded(const Image& image, int pad) {
  Image out;
  out.reshape({image.height + 2 * pad, image.width + 2 * pad, image.channels});
  std::fill(out.pixels.begin(), out.pixels.end(), uint8_t{0});
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 0; c < image.channels; ++c) at(out, y + pad, x + pad, c) = at(image, y, x, c);
    }
  }
  return out;
}

TEST(Transform, KeepImageKeeps) {
  const Image image = noise(5, 4, 3, 1);
  RandomStream random = stream(0);
  EXPECT_EQ(apply(KeepImage{}, image, random), image);
}

TEST(Transform, PadCropFlipEqualsReference) {
  struct Case {
    int height, width, channels, pad;
  };
  for (const Case& c : {Case{8, 8, 3, 4}, Case{7, 5, 1, 2}, Case{6, 6, 3, 0}, Case{2, 3, 3, 5}}) {
    const Image image = noise(c.height, c.width, c.channels, 2);
    std::set<std::pair<int, int>> offsets;
    int flips = 0;
    for (uint64_t i = 0; i < 400; ++i) {
      RandomStream random = stream(i), expected_random = stream(i);
      const Image result = apply(PadCropFlip{c.pad, true}, image, random);
      const int top = static_cast<int>(expected_random.uniform_below(static_cast<uint32_t>(2 * c.pad + 1)));
      const int left = static_cast<int>(expected_random.uniform_below(static_cast<uint32_t>(2 * c.pad + 1)));
      Image expected = cut(padded(image, c.pad), top, left, c.height, c.width);
      if (expected_random.uniform() < 0.5f) {
        expected = mirrored(expected);
        ++flips;
      }
      ASSERT_EQ(result, expected) << "top " << top << " left " << left;
      offsets.emplace(top, left);
    }
    EXPECT_GE(static_cast<int>(offsets.size()) * 10, (2 * c.pad + 1) * (2 * c.pad + 1) * 9);
    EXPECT_GT(flips, 150);
    EXPECT_LT(flips, 250);
  }
}

TEST(Transform, PadCropWithoutFlipNeverMirrors) {
  const Image image = noise(6, 6, 3, 4);
  for (uint64_t i = 0; i < 50; ++i) {
    RandomStream random = stream(i);
    EXPECT_EQ(apply(PadCropFlip{0, false}, image, random), image);
  }
}

/// torchvision's RandomResizedCrop on a 60 x 80 image: crop, then resize, then flip.
TEST(Transform, RandomResizedCropEqualsReference) {
  const Image image = noise(60, 80, 3, 5);
  for (uint64_t i = 0; i < 200; ++i) {
    RandomStream random = stream(i), r = stream(i);
    const Image result = apply(RandomResizedCrop{16}, image, random);
    int top = 0, left = 0, h = 60, w = 80;
    bool found = false;
    for (int attempt = 0; attempt < 10 && !found; ++attempt) {
      const double area = 4800 * (0.08 + (1 - 0.08) * r.uniform_double());
      const double ratio =
          std::exp(std::log(0.75) + (std::log(4.0 / 3) - std::log(0.75)) * r.uniform_double());
      const int try_w = static_cast<int>(std::nearbyint(std::sqrt(area * ratio)));
      const int try_h = static_cast<int>(std::nearbyint(std::sqrt(area / ratio)));
      found = try_w <= 80 && try_h <= 60;
      if (!found) continue;
      h = try_h;
      w = try_w;
      top = static_cast<int>(r.uniform_below(static_cast<uint32_t>(60 - h + 1)));
      left = static_cast<int>(r.uniform_below(static_cast<uint32_t>(80 - w + 1)));
    }
    ASSERT_TRUE(found);
    Image expected = resize(cut(image, top, left, h, w), 16, 16);
    if (r.uniform() < 0.5f) expected = mirrored(expected);
    ASSERT_EQ(result, expected) << i;
  }
}

/// No crop of an allowed ratio fits into a strip: the central one of the nearest ratio is taken.
TEST(Transform, RandomResizedCropFallsBackToTheCentre) {
  RandomResizedCrop t{8};
  t.flip = false;
  RandomStream random = stream(1);
  const Image wide = noise(10, 400, 3, 6);
  EXPECT_EQ(apply(t, wide, random), resize(cut(wide, 0, 193, 10, 13), 8, 8));
  const Image tall = noise(401, 10, 3, 7);
  EXPECT_EQ(apply(t, tall, random), resize(cut(tall, 194, 0, 13, 10), 8, 8));
  const Image dot = noise(1, 1, 3, 8);
  EXPECT_EQ(apply(t, dot, random), resize(dot, 8, 8));
}

TEST(Transform, ResizeCenterCropRoundsAsTorchvision) {
  struct Case {
    int height, width, new_height, new_width, top, left;
  };
  // 58.5 rounds to 58 and 59.5 to 60: to even. 256 * 402 / 300 = 343.04 is cut.
  for (const Case& c :
       {Case{375, 500, 256, 341, 16, 58}, Case{300, 402, 256, 343, 16, 60}, Case{500, 375, 341, 256, 58, 16},
        Case{100, 100, 256, 256, 16, 16}, Case{256, 256, 256, 256, 16, 16}}) {
    const Image image = noise(c.height, c.width, 3, 9);
    RandomStream random = stream(0);
    const Image result = apply(ResizeCenterCrop{256, 224}, image, random);
    EXPECT_EQ(result, cut(resize(image, c.new_height, c.new_width), c.top, c.left, 224, 224))
        << c.height << "x" << c.width;
  }
}

/// The short side of a 1 x 60,000 strip becomes 256: the whole result would take 11 GB, its centre takes none
/// of it.
TEST(Transform, ResizeCenterCropOfAStripIsCheap) {
  const Image strip = noise(1, 60000, 3, 10);
  RandomStream random = stream(0);
  EXPECT_EQ(apply(ResizeCenterCrop{256, 224}, strip, random).shape(), (ImageShape{224, 224, 3}));
}

TEST(Transform, ResizeCenterCropOfALongerStripIsRefused) {
  const Image strip = noise(1, 300'000, 3, 10);
  RandomStream random = stream(0);
  try {
    apply(ResizeCenterCrop{1 << 13, 224}, strip, random);
    FAIL() << "2,457,600,000 columns";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kData);
    EXPECT_NE(std::string(error.what()).find("1x300000"), std::string::npos) << error.what();
  }
}

TEST(Transform, OutputShape) {
  const ImageShape input{30, 40, 1};
  EXPECT_EQ(output_shape(KeepImage{}, input), input);
  EXPECT_EQ(output_shape(PadCropFlip{}, input), input);
  EXPECT_EQ(output_shape(RandomResizedCrop{96}, input), (ImageShape{96, 96, 1}));
  EXPECT_EQ(output_shape(ResizeCenterCrop{64, 56}, input), (ImageShape{56, 56, 1}));
}

TEST(Transform, ValidateNamesTheField) {
  validate(Transform{});
  validate(PadCropFlip{});
  validate(RandomResizedCrop{});
  validate(ResizeCenterCrop{});
  const auto refuse = [](const Transform& t, const std::vector<std::string>& parts) {
    expect_error(ErrorKind::kConfig, parts, [&] { validate(t); });
  };
  refuse(PadCropFlip{-1, true}, {"pad_crop_flip.pad is -1", "0 to"});
  refuse(RandomResizedCrop{0}, {"random_resized_crop.size is 0"});
  refuse(RandomResizedCrop{8, 0.0, 1.0}, {"random_resized_crop.scale is 0 to 1"});
  refuse(RandomResizedCrop{8, 0.5, 1.5}, {"random_resized_crop.scale"});
  refuse(RandomResizedCrop{8, 0.1, 1, 2, 1}, {"random_resized_crop.ratio is 2 to 1"});
  refuse(ResizeCenterCrop{100, 224}, {"resize_center_crop.resize_short is 100", "224 to"});
  refuse(ResizeCenterCrop{256, 0}, {"resize_center_crop.crop is 0"});
}

}  // namespace
}  // namespace residuum
