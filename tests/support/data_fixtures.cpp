#include "tests/support/data_fixtures.h"

#include <stdlib.h>
#include <zlib.h>

#include <fstream>
#include <stdexcept>

#include "engine/core/json.h"
#include "tests/support/golden_data.h"

namespace residuum::fixtures {

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "residuum_XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed");
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void TemporaryFolder::write(const std::filesystem::path& name, const Bytes& bytes) const {
  std::filesystem::create_directories((path_ / name).parent_path());
  std::ofstream file(path_ / name, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file) throw std::runtime_error("cannot write " + name.string());
}

Bytes generated_bytes(uint32_t seed, size_t count) {
  Bytes bytes(count);
  for (uint8_t& byte : bytes) {
    seed = 1664525u * seed + 1013904223u;
    byte = static_cast<uint8_t>(seed >> 24);
  }
  return bytes;
}

void append_big_endian(Bytes& bytes, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<uint8_t>(value >> shift));
}

Bytes idx_images(uint32_t count, uint32_t height, uint32_t width) {
  Bytes bytes;
  for (const uint32_t value : {0x803u, count, height, width}) append_big_endian(bytes, value);
  const Bytes pixels = generated_bytes(1, size_t{count} * height * width);
  bytes.insert(bytes.end(), pixels.begin(), pixels.end());
  return bytes;
}

Bytes idx_labels(const Bytes& labels) {
  Bytes bytes;
  append_big_endian(bytes, 0x801);
  append_big_endian(bytes, static_cast<uint32_t>(labels.size()));
  bytes.insert(bytes.end(), labels.begin(), labels.end());
  return bytes;
}

Bytes gzip(const Bytes& bytes) {
  z_stream stream{};
  if (deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("zlib");
  Bytes out(deflateBound(&stream, static_cast<uLong>(bytes.size())) + 32);
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  const int status = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END) throw std::runtime_error("deflate failed");
  return out;
}

Bytes cifar_records(int count, int label_bytes, int classes, uint32_t seed) {
  Bytes bytes;
  for (int i = 0; i < count; ++i) {
    for (int b = 0; b < label_bytes; ++b) bytes.push_back(static_cast<uint8_t>(i % classes));
    const Bytes planes = generated_bytes(seed + static_cast<uint32_t>(i), 3072);
    bytes.insert(bytes.end(), planes.begin(), planes.end());
  }
  return bytes;
}

Image gradient(int height, int width, int seed) {
  Image image;
  image.reshape({height, width, 3});
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      uint8_t* pixel = &image.pixels[static_cast<size_t>(y * width + x) * 3];
      pixel[0] = static_cast<uint8_t>(255 * x / width);
      pixel[1] = static_cast<uint8_t>(255 * y / height);
      pixel[2] = static_cast<uint8_t>((seed * 37) % 256);
    }
  }
  return image;
}

Bytes from_base64(const std::string& text) {
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  Bytes bytes;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const size_t value = alphabet.find(c);
    if (value == std::string::npos) continue;  // padding
    bits = bits << 6 | static_cast<uint32_t>(value);
    if ((count += 6) >= 8) bytes.push_back(static_cast<uint8_t>(bits >> (count -= 8)));
  }
  return bytes;
}

Bytes golden_image(const std::string& name) {
  for (const auto& entry : golden_json("image_golden.json")) {
    if (entry["name"] == name) return from_base64(entry["file"]);
  }
  throw std::runtime_error("no golden image " + name);
}

uint32_t crc32_of(const std::vector<uint8_t>& bytes) {
  return static_cast<uint32_t>(crc32(0, bytes.data(), static_cast<uInt>(bytes.size())));
}

}  // namespace residuum::fixtures
