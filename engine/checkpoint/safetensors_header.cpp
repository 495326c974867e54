// A SAX handler: the place in the header is one state, every JSON event that does not fit it ends the parse.
#include "engine/checkpoint/safetensors_header.h"

#include <fmt/format.h>
#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "engine/core/check.h"

namespace residuum {
namespace {

constexpr std::string_view kMetadataName = "__metadata__";

class HeaderParser : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderParser(const std::string& file, SafetensorsHeader& header) : file_(file), header_(header) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_float(number_float_t, const string_t& text) override {
    return unexpected("the number " + text);
  }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool number_integer(number_integer_t value) override {
    return unexpected("the number " + std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;
  bool start_object(size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) override {
    fail(ErrorKind::kCheckpoint, "{}: header is not JSON: {}", file_, error.what());
  }

 private:
  enum class Place {
    kStart,           // before the outer object
    kTop,             // at a key of the outer object
    kMetadata,        // before the metadata object
    kMetadataKey,     // at a key of it
    kMetadataValue,   // at a value of it
    kTensor,          // before a tensor's object
    kField,           // at a key of it
    kDtype,           // at the value of that field
    kShape,           // before that array
    kShapeElement,    // in it
    kOffsets,         // before that array
    kOffsetsElement,  // in it
    kEnd,             // behind the outer object
  };

  [[noreturn]] bool unexpected(const std::string& found) const {
    static constexpr std::string_view kExpected[] = {"an object",   "a tensor name",
                                                     "an object",   "a key",
                                                     "a string",    "an object",
                                                     "a field",     "a string",
                                                     "an array",    "non-negative integers",
                                                     "an array",    "two non-negative integers",
                                                     "nothing more"};
    fail(ErrorKind::kCheckpoint, "{}: header {} is {}, expected {}", file_, where(), found,
         kExpected[static_cast<size_t>(place_)]);
  }
  std::string where() const {
    if (name_.empty()) return "value";
    return field_.empty() ? fmt::format("entry '{}'", name_)
                          : fmt::format("entry '{}' field '{}'", name_, field_);
  }

  const std::string& file_;
  SafetensorsHeader& header_;
  Place place_ = Place::kStart;
  std::string name_;   // of the entry being read
  std::string field_;  // of that entry
  std::unordered_set<std::string> names_;
  std::unordered_set<std::string> fields_;
  SafetensorsEntry entry_;
  std::vector<uint64_t> offsets_;
};

bool HeaderParser::start_object(size_t) {
  switch (place_) {
    case Place::kStart:
      place_ = Place::kTop;
      return true;
    case Place::kMetadata:
      place_ = Place::kMetadataKey;
      return true;
    case Place::kTensor:
      place_ = Place::kField;
      return true;
    default:
      return unexpected("an object");
  }
}

bool HeaderParser::key(string_t& name) {
  if (place_ == Place::kTop) {
    name_ = name;
    field_.clear();
    fields_.clear();
    check(names_.insert(name).second, ErrorKind::kCheckpoint, "{}: header has the key '{}' twice", file_,
          name);
    entry_ = {name, {}, {}, 0, 0};
    offsets_.clear();
    place_ = name == kMetadataName ? Place::kMetadata : Place::kTensor;
    return true;
  }
  field_ = name;
  check(fields_.insert(name).second, ErrorKind::kCheckpoint, "{}: header entry '{}' has the key '{}' twice",
        file_, name_, name);
  if (place_ == Place::kMetadataKey) {
    place_ = Place::kMetadataValue;
  } else if (name == "dtype") {
    place_ = Place::kDtype;
  } else if (name == "shape") {
    place_ = Place::kShape;
  } else if (name == "data_offsets") {
    place_ = Place::kOffsets;
  } else {
    fail(ErrorKind::kCheckpoint,
         "{}: header entry '{}' has the field '{}', expected dtype, shape, data_offsets", file_, name_, name);
  }
  return true;
}

bool HeaderParser::string(string_t& value) {
  if (place_ == Place::kMetadataValue) {
    header_.metadata[field_] = value;
    place_ = Place::kMetadataKey;
  } else if (place_ == Place::kDtype) {
    entry_.dtype = value;
    place_ = Place::kField;
  } else {
    return unexpected("a string");
  }
  return true;
}

bool HeaderParser::number_unsigned(number_unsigned_t value) {
  if (place_ == Place::kShapeElement) {
    check(value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()), ErrorKind::kCheckpoint,
          "{}: tensor '{}' has an extent of {}, which overflows 64 bits", file_, name_, value);
    entry_.shape.push_back(static_cast<int64_t>(value));
  } else if (place_ == Place::kOffsetsElement && offsets_.size() < 2) {
    offsets_.push_back(value);
  } else {
    return unexpected("the number " + std::to_string(value));
  }
  return true;
}

bool HeaderParser::start_array(size_t) {
  if (place_ == Place::kShape) {
    place_ = Place::kShapeElement;
  } else if (place_ == Place::kOffsets) {
    place_ = Place::kOffsetsElement;
  } else {
    return unexpected("an array");
  }
  return true;
}

bool HeaderParser::end_array() {
  if (place_ == Place::kOffsetsElement && offsets_.size() != 2) {
    return unexpected(fmt::format("{} numbers", offsets_.size()));
  }
  place_ = Place::kField;
  return true;
}

bool HeaderParser::end_object() {
  if (place_ == Place::kTop) {
    place_ = Place::kEnd;
    return true;
  }
  if (place_ == Place::kField) {
    for (const char* field : {"dtype", "shape", "data_offsets"}) {
      check(fields_.contains(field), ErrorKind::kCheckpoint, "{}: header entry '{}' lacks the field '{}'",
            file_, name_, field);
    }
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    header_.entries.push_back(std::move(entry_));
  }
  name_.clear();
  place_ = Place::kTop;
  return true;
}

// Bytes that dtype and shape ask for; throws when they are unknown or overflow 64 bits.
uint64_t expected_bytes(const std::string& file, const SafetensorsEntry& entry) {
  uint64_t bytes = bytes_of_dtype(entry.dtype);
  check(bytes > 0, ErrorKind::kCheckpoint,
        "{}: tensor '{}' has dtype '{}', expected one of F64 F32 F16 BF16 F8_E4M3 F8_E5M2 I64 I32 I16 I8 U64 "
        "U32 U16 "
        "U8 BOOL",
        file, entry.name, entry.dtype);
  for (const int64_t extent : entry.shape) {
    check(!__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes), ErrorKind::kCheckpoint,
          "{}: size of tensor '{}' with shape [{}] overflows 64 bits", file, entry.name,
          fmt::join(entry.shape, ", "));
  }
  return bytes;
}

}  // namespace

uint64_t parse_safetensors_header_size(const std::string& file, std::span<const std::byte> prefix,
                                       uint64_t file_bytes) {
  check(prefix.size() >= 8, ErrorKind::kCheckpoint,
        "{}: file has {} bytes, expected at least the 8 bytes of the header size", file, file_bytes);
  uint64_t size = 0;
  for (size_t i = 0; i < 8; ++i) size |= std::to_integer<uint64_t>(prefix[i]) << (8 * i);
  check(size <= kMaxSafetensorsHeader, ErrorKind::kCheckpoint,
        "{}: header size is {}, allowed are {} bytes: this is not a safetensors file", file, size,
        kMaxSafetensorsHeader);
  check(size <= file_bytes - 8, ErrorKind::kCheckpoint,
        "{}: header size is {}, but only {} bytes follow in the file", file, size, file_bytes - 8);
  return size;
}

SafetensorsHeader parse_safetensors_header(const std::string& file, std::string_view json,
                                           uint64_t data_bytes) {
  check(!json.empty() && json[0] == '{', ErrorKind::kCheckpoint, "{}: header does not start with '{{'", file);
  // The JSON library would take a zero byte for the end of the text.
  check(json.find('\0') == std::string_view::npos, ErrorKind::kCheckpoint,
        "{}: header is not JSON: zero byte at {}", file, json.find('\0'));
  SafetensorsHeader header;
  HeaderParser parser(file, header);
  nlohmann::json::sax_parse(json, &parser);
  std::stable_sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t next = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    check(entry.begin == next, ErrorKind::kCheckpoint,
          "{}: tensor '{}' starts at offset {}, expected {} ({})", file, entry.name, entry.begin, next,
          entry.begin < next ? "overlap" : "hole");
    check(entry.end >= entry.begin, ErrorKind::kCheckpoint,
          "{}: tensor '{}' ends at offset {}, before its start {}", file, entry.name, entry.end, entry.begin);
    const uint64_t expected = expected_bytes(file, entry);
    check(entry.end - entry.begin == expected, ErrorKind::kCheckpoint,
          "{}: tensor '{}' has {} bytes, expected {} for {}[{}]", file, entry.name, entry.end - entry.begin,
          expected, entry.dtype, fmt::join(entry.shape, ", "));
    next = entry.end;
  }
  check(next == data_bytes, ErrorKind::kCheckpoint,
        "{}: tensors take {} bytes, but {} bytes follow the header ({})", file, next, data_bytes,
        next < data_bytes ? "trailing bytes" : "file cut short");
  return header;
}

}  // namespace residuum
