// JPEG and PNG files: any input gives an image of the channels asked for within the limits, or Error(kData).
#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/core/check.h"
#include "engine/data/image.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  residuum::DecodeOptions options;
  options.max_pixels = 1 << 18;  // keeps one input fast; the limit itself is part of the test
  options.max_scans = 20;
  options.apply_orientation = true;
  for (const int channels : {1, 3}) {
    try {
      const residuum::Image image =
          residuum::decode_image(std::as_bytes(std::span(data, size)), channels, options);
      if (image.channels != channels || int64_t{image.height} * image.width > options.max_pixels)
        std::abort();
      if (image.shape().bytes() != static_cast<int64_t>(image.pixels.size()) || image.pixels.empty())
        std::abort();
    } catch (const residuum::Error& error) {
      if (error.kind() != residuum::ErrorKind::kData) std::abort();
    }
  }
  return 0;
}
