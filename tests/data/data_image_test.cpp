// Decoding and resizing equal Pillow's, bit for bit; damaged, truncated and oversized files are typed errors.
#include <png.h>

#include <algorithm>
#include <optional>

#include "engine/core/json.h"
#include "engine/data/image.h"
#include "engine/data/resize.h"
#include "tests/support/data_fixtures.h"
#include "tests/support/golden_data.h"

namespace residuum {
namespace {

using namespace fixtures;

TEST(Resize, EqualsPillowBitForBit) {
  const auto cases = golden_json("resize_golden.json");
  ASSERT_GE(cases.size(), 20u);
  for (const auto& entry : cases) {
    SCOPED_TRACE(json_text(entry));
    Image image{entry["from"][0], entry["from"][1], entry["from"][2], {}};
    image.pixels = generated_bytes(entry["seed"], static_cast<size_t>(image.shape().bytes()));
    std::optional<ResizeBox> box;
    if (!entry["box"].is_null()) {
      box = ResizeBox{entry["box"][0], entry["box"][1], entry["box"][2], entry["box"][3]};
    }
    const Image resized = resize(image, entry["to"][0], entry["to"][1], box);
    EXPECT_EQ(resized.shape(), (ImageShape{entry["to"][0], entry["to"][1], entry["from"][2]}));
    EXPECT_EQ(std::vector<int>(resized.pixels.begin(), resized.pixels.begin() + entry["first"].size()),
              entry["first"].get<std::vector<int>>());
    EXPECT_EQ(crc32_of(resized.pixels), entry["crc32"].get<uint32_t>());
  }
}

TEST(Resize, WindowIsPartOfTheWhole) {
  struct Case {
    int height, width, new_height, new_width, top, left, rows, columns;
  };
  for (const Case& c : {Case{37, 53, 20, 31, 3, 5, 10, 20}, Case{37, 53, 37, 31, 36, 0, 1, 31},
                        Case{37, 53, 74, 53, 0, 52, 9, 1}, Case{37, 53, 37, 53, 1, 2, 3, 4},
                        Case{500, 3, 40, 9, 10, 2, 20, 7}}) {
    Image image{c.height, c.width, 3, {}};
    image.pixels = generated_bytes(7, static_cast<size_t>(image.shape().bytes()));
    const Image whole = resize(image, c.new_height, c.new_width);
    const Image part = resize_and_crop(image, c.new_height, c.new_width, c.top, c.left, c.rows, c.columns);
    ASSERT_EQ(part.shape(), (ImageShape{c.rows, c.columns, 3}));
    const ImageView expected = ImageView(whole).crop(c.top, c.left, c.rows, c.columns);
    for (int y = 0; y < c.rows; ++y) {
      EXPECT_TRUE(std::equal(expected.row(y), expected.row(y) + c.columns * 3, ImageView(part).row(y))) << y;
    }
  }
}

TEST(Resize, RefusesEmptySizesAndBoxesOutside) {
  const Image image = gradient(8, 8, 1);
  expect_error(ErrorKind::kShape, {"0x4"}, [&] { resize(image, 0, 4); });
  expect_error(ErrorKind::kShape, {"at least 1x1"}, [&] { resize(Image{}, 4, 4); });
  expect_error(ErrorKind::kShape, {"8.5", "8x8"}, [&] { resize(image, 4, 4, ResizeBox{0, 0, 8.5f, 8}); });
  expect_error(ErrorKind::kShape, {"empty"}, [&] { resize(image, 4, 4, ResizeBox{3, 0, 3, 8}); });
  expect_error(ErrorKind::kShape, {"outside 4x4"}, [&] { resize_and_crop(image, 4, 4, 2, 0, 3, 4); });
  expect_error(ErrorKind::kShape, {"outside 8x8"}, [&] { ImageView(image).crop(0, 7, 1, 2); });
}

TEST(DecodeImage, EqualsPillow) {
  const auto files = golden_json("image_golden.json");
  ASSERT_GE(files.size(), 20u);
  DecodeOptions turn;
  turn.apply_orientation = true;
  for (const auto& entry : files) {
    SCOPED_TRACE(entry["name"].get<std::string>());
    const Bytes file = from_base64(entry["file"]);
    const Image rgb = decode_image(as_span(file), 3);
    EXPECT_EQ(rgb.shape(), (ImageShape{entry["size"][0], entry["size"][1], 3}));
    EXPECT_EQ(crc32_of(rgb.pixels), entry["rgb"].get<uint32_t>());
    const Image grey = decode_image(as_span(file), 1);
    EXPECT_EQ(grey.shape(), (ImageShape{entry["size"][0], entry["size"][1], 1}));
    EXPECT_EQ(crc32_of(grey.pixels), entry["grey"].get<uint32_t>());
    const Image turned = decode_image(as_span(file), 3, turn);
    EXPECT_EQ(turned.shape(), (ImageShape{entry["turned_size"][0], entry["turned_size"][1], 3}));
    EXPECT_EQ(crc32_of(turned.pixels), entry["turned"].get<uint32_t>());
  }
}

/// Sixteen-bit samples keep their high byte, alpha is dropped, and interlacing changes nothing.
TEST(DecodeImage, SixteenBitsAlphaAndInterlacing) {
  struct Case {
    int color_type, samples, kept;
  };
  constexpr uint32_t kSide = 5;
  for (const Case& c : {Case{PNG_COLOR_TYPE_GRAY, 1, 1}, Case{PNG_COLOR_TYPE_GRAY_ALPHA, 2, 1},
                        Case{PNG_COLOR_TYPE_RGB, 3, 3}, Case{PNG_COLOR_TYPE_RGB_ALPHA, 4, 3}}) {
    for (const int bytes : {1, 2}) {
      const Bytes data = generated_bytes(31, size_t{kSide} * kSide * static_cast<size_t>(c.samples * bytes));
      Bytes expected;
      for (size_t pixel = 0; pixel < kSide * kSide; ++pixel) {
        for (int k = 0; k < c.kept; ++k) {
          expected.push_back(data[(pixel * static_cast<size_t>(c.samples) + static_cast<size_t>(k)) *
                                  static_cast<size_t>(bytes)]);
        }
      }
      for (const bool interlaced : {false, true}) {
        const Bytes file = encode_png(kSide, kSide, 8 * bytes, c.color_type, interlaced, data);
        EXPECT_EQ(decode_image(as_span(file), c.kept).pixels, expected)
            << c.samples << " samples of " << bytes;
      }
    }
  }
}

/// Every prefix of a PNG is an error, and every prefix of a JPEG that lacks more than its end marker.
TEST(DecodeImage, EveryPrefixIsATypedError) {
  for (const char* name :
       {"baseline_420.jpg", "progressive.jpg", "cmyk_adobe.jpg", "grey.jpg", "rgb.png", "palette_4.png"}) {
    SCOPED_TRACE(name);
    const Bytes file = golden_image(name);
    const Image whole = decode_image(as_span(file), 3);
    const bool jpeg = std::string(name).ends_with(".jpg");
    for (size_t size = 0; size < file.size(); ++size) {
      SCOPED_TRACE(size);
      const Bytes prefix(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
      try {
        const Image image = decode_image(as_span(prefix), 3);
        EXPECT_TRUE(jpeg && size + 2 >= file.size());
        EXPECT_EQ(image, whole);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kData);
      }
    }
  }
}

/// Each byte of the first 700 is flipped in two ways: an image of any content or Error(kData), within the
/// pixel limit.
TEST(DecodeImage, FlippedBytesNeverCrash) {
  DecodeOptions options;
  options.max_pixels = 1 << 16;
  options.apply_orientation = true;
  int errors = 0;
  for (const char* name :
       {"baseline_420.jpg", "progressive.jpg", "ycck.jpg", "oriented_6.jpg", "palette.png", "rgba.png"}) {
    const Bytes file = golden_image(name);
    for (size_t i = 0; i < std::min<size_t>(file.size(), 700); ++i) {
      for (const int mask : {0xFF, 0x01}) {
        SCOPED_TRACE(std::string(name) + " byte " + std::to_string(i));
        Bytes flipped = file;
        flipped[i] = static_cast<uint8_t>(flipped[i] ^ mask);
        try {
          const Image image = decode_image(as_span(flipped), 3, options);
          EXPECT_EQ(static_cast<int64_t>(image.pixels.size()), image.shape().bytes());
          EXPECT_LE(int64_t{image.height} * image.width, options.max_pixels);
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::kData) << error.what();
          ++errors;
        }
      }
    }
  }
  EXPECT_GT(errors, 100);
}

TEST(DecodeImage, FormatIsDecidedByContent) {
  expect_error(ErrorKind::kData, {"empty"}, [] { decode_image({}, 3); });
  const Bytes text{'h', 'e', 'l', 'l', 'o', ' ', 'w', 'o', 'r', 'l', 'd'};
  expect_error(ErrorKind::kData, {"neither JPEG nor PNG", "11 bytes"},
               [&] { decode_image(as_span(text), 3); });
  const Bytes png = golden_image("rgb.png");
  expect_error(ErrorKind::kConfig, {"channels is 2"}, [&] { decode_image(as_span(png), 2); });
}

TEST(DecodeImage, RefusesBombsBeforeAllocating) {
  DecodeOptions options;
  options.max_pixels = 29 * 37 - 1;
  for (const char* name : {"baseline_420.jpg", "rgb.png"}) {
    const Bytes file = golden_image(name);
    expect_error(ErrorKind::kData, {"29x37", "1072"}, [&] { decode_image(as_span(file), 3, options); });
  }
  // A JPEG that claims 65,500 x 65,500 pixels: 12.9 GB as RGB.
  Bytes huge = golden_image("baseline_420.jpg");
  const Bytes sof{0xFF, 0xC0};
  const auto at = std::search(huge.begin(), huge.end(), sof.begin(), sof.end()) + 5;
  const Bytes extents{0xFF, 0xDC, 0xFF, 0xDC};
  std::copy(extents.begin(), extents.end(), at);
  expect_error(ErrorKind::kData, {"65500x65500", "178956970"}, [&] { decode_image(as_span(huge), 3); });
}

TEST(DecodeImage, RefusesTooManyScans) {
  const Bytes file = golden_image("progressive.jpg");
  DecodeOptions options;
  options.max_scans = 3;
  expect_error(ErrorKind::kData, {"more than 3 scans"}, [&] { decode_image(as_span(file), 3, options); });

  // The last scan (a refinement) repeated 200 times.
  const Bytes marker{0xFF, 0xDA};
  const auto scan = std::find_end(file.begin(), file.end(), marker.begin(), marker.end());
  Bytes many(file.begin(), file.end() - 2);
  for (int i = 0; i < 200; ++i) many.insert(many.end(), scan, file.end() - 2);
  many.insert(many.end(), file.end() - 2, file.end());
  expect_error(ErrorKind::kData, {"more than 100 scans"}, [&] { decode_image(as_span(many), 3); });
}

TEST(DecodeImage, DamagedPngChecksumIsAnError) {
  Bytes file = golden_image("rgb.png");
  file[file.size() - 13] ^= 1;  // the last byte before IEND: the CRC of the pixel data
  expect_error(ErrorKind::kData, {"PNG", "CRC"}, [&] { decode_image(as_span(file), 3); });
}

}  // namespace
}  // namespace residuum
