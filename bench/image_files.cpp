#include "bench/image_files.h"

#include <cstdio>  // before jpeglib.h, which needs FILE

#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <cstdlib>

#include "engine/core/file.h"
#include "engine/core/random.h"

namespace residuum::bench {
namespace {

constexpr int kImages = 32, kRecords = 2000, kClasses = 10;
constexpr int kPhotographHeight = 375, kPhotographWidth = 500;  // ImageNet's most frequent size

void write_bytes(const std::filesystem::path& path, const Bytes& bytes) {
  make_directories(path.parent_path());
  write_file_atomically(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void append_random(Bytes& bytes, size_t count, RandomStream& random) {
  for (size_t i = 0; i < count; ++i) bytes.push_back(static_cast<uint8_t>(random.next_u32()));
}

void append_big_endian(Bytes& bytes, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<uint8_t>(value >> shift));
}

/// An image with slopes, an edge and a little noise, about as hard to compress as a photograph; `seed` makes
/// it another one.
Image made_up_photograph(int height, int width, uint64_t seed) {
  RandomStream random(seed, RandomPurpose::kAnalysis, 2, 0);
  Image image;
  image.reshape({height, width, 3});
  const int edge = static_cast<int>(random.uniform_below(static_cast<uint32_t>(width)));
  const int hue = static_cast<int>(random.uniform_below(256));
  uint8_t* pixel = image.pixels.data();
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const int noise = static_cast<int>(random.next_u32() >> 28);
      for (const int value : {200 * x / width, 200 * y / height, hue + (x < edge ? 0 : 90)}) {
        *pixel++ = static_cast<uint8_t>(std::clamp(value + noise, 0, 255));
      }
    }
  }
  return image;
}

void write_photographs(const std::filesystem::path& root, bool png) {
  for (int i = 0; i < kImages; ++i) {
    const Image image = made_up_photograph(kPhotographHeight, kPhotographWidth, static_cast<uint64_t>(i));
    const std::filesystem::path folder = root / (i % 2 == 0 ? "cat" : "dog");
    const std::string name = std::to_string(i) + (png ? ".png" : ".jpg");
    write_bytes(folder / name, png ? encode_png(kPhotographWidth, kPhotographHeight, 8, PNG_COLOR_TYPE_RGB,
                                                false, image.pixels)
                                   : encode_jpeg(image));
  }
}

void write_cifar(const std::filesystem::path& root) {
  RandomStream random(1, RandomPurpose::kAnalysis, 0, 0);
  constexpr size_t kPixels = 3072;
  for (const char* name : {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                           "data_batch_5.bin", "test_batch.bin"}) {
    Bytes bytes;
    for (int i = 0; i < kRecords / 5; ++i) {
      bytes.push_back(static_cast<uint8_t>(i % kClasses));
      append_random(bytes, kPixels, random);
    }
    write_bytes(root / name, bytes);
  }
}

void write_idx(const std::filesystem::path& root) {
  RandomStream random(1, RandomPurpose::kAnalysis, 1, 0);
  constexpr uint32_t kSide = 28;
  Bytes images, labels;
  for (const uint32_t value : {0x803u, uint32_t{kRecords}, kSide, kSide}) append_big_endian(images, value);
  append_random(images, size_t{kRecords} * kSide * kSide, random);
  for (const uint32_t value : {0x801u, uint32_t{kRecords}}) append_big_endian(labels, value);
  for (int i = 0; i < kRecords; ++i) labels.push_back(static_cast<uint8_t>(i % kClasses));
  for (const char* split : {"train", "t10k"}) {
    write_bytes(root / (std::string(split) + "-images-idx3-ubyte"), images);
    write_bytes(root / (std::string(split) + "-labels-idx1-ubyte"), labels);
  }
}

}  // namespace

Bytes encode_jpeg(const Image& image) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &buffer, &size);
  info.image_width = static_cast<JDIMENSION>(image.width);
  info.image_height = static_cast<JDIMENSION>(image.height);
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < info.image_height) {
    JSAMPROW row = const_cast<JSAMPROW>(image.pixels.data()) + size_t{info.next_scanline} * image.width * 3;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  Bytes bytes(buffer, buffer + size);
  jpeg_destroy_compress(&info);
  free(buffer);
  return bytes;
}

Bytes encode_png(uint32_t width, uint32_t rows, int bit_depth, int color_type, bool interlaced,
                 const Bytes& data) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  Bytes bytes;
  const auto write = [](png_structp p, png_bytep from, size_t count) {
    auto* to = static_cast<Bytes*>(png_get_io_ptr(p));
    to->insert(to->end(), from, from + count);
  };
  png_set_write_fn(png, &bytes, write, [](png_structp) {});
  png_set_IHDR(png, info, width, rows, bit_depth, color_type,
               interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  std::vector<png_bytep> pointers;
  for (size_t y = 0; y < rows; ++y)
    pointers.push_back(const_cast<png_bytep>(data.data()) + y * (data.size() / rows));
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return bytes;
}

std::vector<MadeUpData> write_made_up_data(const std::filesystem::path& folder) {
  write_photographs(folder / "jpeg", false);
  write_photographs(folder / "png", true);
  write_cifar(folder / "cifar10");
  write_idx(folder / "idx");
  return {{"jpeg 500x375", folder / "jpeg"},
          {"png 500x375", folder / "png"},
          {"cifar10 32x32", folder / "cifar10"},
          {"idx 28x28", folder / "idx"}};
}

}  // namespace residuum::bench
