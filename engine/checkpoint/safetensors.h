// Reading and writing of the safetensors format (https://github.com/huggingface/safetensors#format):
// u64 little-endian header size, JSON header, tensor bytes. A file is checked completely, by the rules of the
// reference implementation and stricter where that one is silent, before memory for its tensors is allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace residuum {

/// Bytes of one element of a safetensors dtype ("F64", "F32", "F16", "BF16", "I64", ...); zero for an unknown
/// one.
size_t bytes_of_dtype(std::string_view dtype);

/// One tensor of a file. `data` is dense, row major and little-endian, and belongs to someone else.
struct StoredTensor {
  std::string name;
  std::string dtype;           ///< "F32": see bytes_of_dtype()
  std::vector<int64_t> shape;  ///< empty: a scalar with one element
  std::span<const std::byte> data;
};

using SafetensorsMetadata = std::map<std::string, std::string>;

struct SafetensorsHeader;

/// A safetensors file in memory; the tensors' data stay valid as long as this object, also when it is moved.
class SafetensorsFile {
 public:
  /// Throws Error(kIo) when the file cannot be read and Error(kCheckpoint), naming file, tensor, found and
  /// expected, when its content is not valid.
  static SafetensorsFile read(const std::filesystem::path& path);
  /// The same for the bytes of a whole file; `name` stands for the file in messages.
  static SafetensorsFile parse(std::string name, std::vector<std::byte> bytes);

  /// In the order of their data in the file.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }
  /// The tensor of that name, or null.
  const StoredTensor* find(std::string_view name) const;
  const SafetensorsMetadata& metadata() const { return metadata_; }
  const std::string& name() const { return name_; }

 private:
  SafetensorsFile(std::string name, SafetensorsHeader header, std::vector<std::byte> bytes,
                  size_t data_begin);

  std::string name_;
  SafetensorsMetadata metadata_;
  std::vector<StoredTensor> tensors_;
  std::vector<std::byte> bytes_;  // of the whole file
};

/// The bytes of a safetensors file, as pieces to be written one after the other.
class SafetensorsImage {
 public:
  /// Tensors are laid out by falling element size, so that each is aligned, otherwise in the given order.
  /// Throws Error(kCheckpoint) for a repeated name, an unknown dtype, or data that do not fit dtype and
  /// shape. The tensors' data must outlive this object.
  SafetensorsImage(std::span<const StoredTensor> tensors, const SafetensorsMetadata& metadata);
  SafetensorsImage(SafetensorsImage&&) = delete;  // parts_ points into header_

  std::span<const std::span<const std::byte>> parts() const { return parts_; }

 private:
  std::string header_;
  std::vector<std::span<const std::byte>> parts_;
};

/// Writes a safetensors file atomically; errors as SafetensorsImage and write_file_atomically().
void write_safetensors(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                       const SafetensorsMetadata& metadata = {});

}  // namespace residuum
