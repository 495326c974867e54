// Files for the data tests: a temporary folder, IDX, CIFAR, gzip, JPEG and PNG bytes, and the golden files of
// Pillow.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "bench/image_files.h"
#include "engine/core/check.h"
#include "engine/data/image.h"

namespace residuum::fixtures {

using Bytes = std::vector<uint8_t>;

inline std::span<const std::byte> as_span(const Bytes& bytes) {
  return std::as_bytes(std::span(bytes));
}

/// A folder that lives as long as the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

  /// Writes `bytes` to a file below the folder, making the folders between.
  void write(const std::filesystem::path& name, const Bytes& bytes) const;

 private:
  std::filesystem::path path_;
};

/// Fails the test unless `action` throws Error(kind) whose message contains every one of `parts`.
template <typename Action>
void expect_error(ErrorKind kind, const std::vector<std::string>& parts, Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << part << " is not in: " << error.what();
    }
    return;
  }
  ADD_FAILURE() << "nothing was thrown";
}

/// Byte i of the sequence x = (1664525 x + 1013904223) mod 2^32 from `seed`, taken as x >> 24.
Bytes generated_bytes(uint32_t seed, size_t count);

void append_big_endian(Bytes& bytes, uint32_t value);

/// An IDX image file of `count` images, pixel bytes generated from seed 1.
Bytes idx_images(uint32_t count, uint32_t height, uint32_t width);

Bytes idx_labels(const Bytes& labels);

Bytes gzip(const Bytes& bytes);

/// CIFAR records with labels 0, 1, 2, ... modulo `classes`, planes generated from `seed` + record.
Bytes cifar_records(int count, int label_bytes, int classes, uint32_t seed);

/// An image without sharp edges, so that JPEG keeps it small; `seed` shifts it.
Image gradient(int height, int width, int seed);

using bench::encode_jpeg, bench::encode_png;

Bytes from_base64(const std::string& text);

/// The bytes of one file of image_golden.json.
Bytes golden_image(const std::string& name);

uint32_t crc32_of(const std::vector<uint8_t>& bytes);

}  // namespace residuum::fixtures
