// Safetensors files in memory and on disk; the header itself is parsed in safetensors_header.cpp.
#include "engine/checkpoint/safetensors.h"

#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <bit>
#include <unordered_set>
#include <utility>

#include "engine/checkpoint/safetensors_header.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"

namespace residuum {
namespace {

static_assert(std::endian::native == std::endian::little,
              "tensor bytes are written and read as they are in memory");

constexpr std::array<std::pair<std::string_view, size_t>, 15> kDtypes = {{{"F64", 8},
                                                                          {"F32", 4},
                                                                          {"F16", 2},
                                                                          {"BF16", 2},
                                                                          {"F8_E4M3", 1},
                                                                          {"F8_E5M2", 1},
                                                                          {"I64", 8},
                                                                          {"I32", 4},
                                                                          {"I16", 2},
                                                                          {"I8", 1},
                                                                          {"U64", 8},
                                                                          {"U32", 4},
                                                                          {"U16", 2},
                                                                          {"U8", 1},
                                                                          {"BOOL", 1}}};

void check_tensor(const StoredTensor& tensor) {
  uint64_t bytes = bytes_of_dtype(tensor.dtype);
  check(bytes > 0, ErrorKind::kCheckpoint, "tensor '{}' cannot be stored with dtype '{}'", tensor.name,
        tensor.dtype);
  for (const int64_t extent : tensor.shape) {
    check(extent >= 0 && !__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes),
          ErrorKind::kCheckpoint, "tensor '{}' cannot be stored with shape [{}]", tensor.name,
          fmt::join(tensor.shape, ", "));
  }
  check(bytes == tensor.data.size(), ErrorKind::kCheckpoint,
        "tensor '{}' cannot be stored: it has {} bytes, expected {} for {}[{}]", tensor.name,
        tensor.data.size(), bytes, tensor.dtype, fmt::join(tensor.shape, ", "));
}

std::string quoted(const std::string& text) {
  try {
    return json_text(nlohmann::json(text));
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::kCheckpoint, "a name or metadata text cannot be stored: {}", error.what());
  }
}

// Length and JSON of a header, padded with spaces so that the tensors start at a multiple of eight.
std::string encode_header(const std::vector<const StoredTensor*>& tensors,
                          const SafetensorsMetadata& metadata) {
  std::vector<std::string> entries;
  std::vector<std::string> texts;
  for (const auto& [key, value] : metadata) texts.push_back(quoted(key) + ":" + quoted(value));
  if (!texts.empty()) entries.push_back(fmt::format(R"("__metadata__":{{{}}})", fmt::join(texts, ",")));
  std::unordered_set<std::string_view> names = {"__metadata__"};
  uint64_t offset = 0;
  for (const StoredTensor* tensor : tensors) {
    check(names.insert(tensor->name).second, ErrorKind::kCheckpoint,
          "tensor name '{}' is reserved or used twice", tensor->name);
    const uint64_t end = offset + tensor->data.size();
    entries.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                  quoted(tensor->name), tensor->dtype, fmt::join(tensor->shape, ","), offset,
                                  end));
    offset = end;
  }
  std::string json = fmt::format("{{{}}}", fmt::join(entries, ","));
  json.append((8 - json.size() % 8) % 8, ' ');
  check(json.size() <= kMaxSafetensorsHeader, ErrorKind::kCheckpoint,
        "header of {} tensors takes {} bytes, allowed are {}", tensors.size(), json.size(),
        kMaxSafetensorsHeader);
  std::string length(8, '\0');
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(json.size() >> (8 * i) & 0xFF);
  return length + json;
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

size_t bytes_of_dtype(std::string_view dtype) {
  const auto found =
      std::find_if(kDtypes.begin(), kDtypes.end(), [&](const auto& d) { return d.first == dtype; });
  return found == kDtypes.end() ? 0 : found->second;
}

SafetensorsFile::SafetensorsFile(std::string name, SafetensorsHeader header, std::vector<std::byte> bytes,
                                 size_t data_begin)
    : name_(std::move(name)), metadata_(std::move(header.metadata)), bytes_(std::move(bytes)) {
  const std::span<const std::byte> data = std::span(bytes_).subspan(data_begin);
  tensors_.reserve(header.entries.size());
  for (SafetensorsEntry& entry : header.entries) {
    tensors_.push_back({std::move(entry.name), std::move(entry.dtype), std::move(entry.shape),
                        data.subspan(entry.begin, entry.end - entry.begin)});
  }
}

SafetensorsFile SafetensorsFile::read(const std::filesystem::path& path) {
  const InputFile file(path);
  std::vector<std::byte> bytes(std::min<uint64_t>(8, file.size()));
  file.read(0, bytes);
  const size_t data_begin = 8 + parse_safetensors_header_size(path.string(), bytes, file.size());
  bytes.resize(data_begin);
  file.read(8, std::span(bytes).subspan(8));
  SafetensorsHeader header =
      parse_safetensors_header(path.string(), text_of(std::span(bytes).subspan(8)), file.size() - data_begin);
  bytes.resize(file.size());
  file.read(data_begin, std::span(bytes).subspan(data_begin));
  return {path.string(), std::move(header), std::move(bytes), data_begin};
}

SafetensorsFile SafetensorsFile::parse(std::string name, std::vector<std::byte> bytes) {
  const std::span<const std::byte> all(bytes);
  const size_t header_bytes =
      parse_safetensors_header_size(name, all.first(std::min<size_t>(8, all.size())), all.size());
  SafetensorsHeader header =
      parse_safetensors_header(name, text_of(all.subspan(8, header_bytes)), all.size() - 8 - header_bytes);
  return {std::move(name), std::move(header), std::move(bytes), 8 + header_bytes};
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found =
      std::find_if(tensors_.begin(), tensors_.end(), [&](const auto& t) { return t.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

SafetensorsImage::SafetensorsImage(std::span<const StoredTensor> tensors,
                                   const SafetensorsMetadata& metadata) {
  std::vector<const StoredTensor*> ordered;
  for (const StoredTensor& tensor : tensors) {
    check_tensor(tensor);
    ordered.push_back(&tensor);
  }
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto* a, const auto* b) {
    return bytes_of_dtype(a->dtype) > bytes_of_dtype(b->dtype);
  });
  header_ = encode_header(ordered, metadata);
  parts_.push_back(bytes_of(header_));
  for (const StoredTensor* tensor : ordered) parts_.push_back(tensor->data);
}

void write_safetensors(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                       const SafetensorsMetadata& metadata) {
  write_file_atomically(path, SafetensorsImage(tensors, metadata).parts());
}

}  // namespace residuum
