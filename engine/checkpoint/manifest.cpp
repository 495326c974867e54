// Names and JSON of state manifests.
#include "engine/checkpoint/manifest.h"

#include <algorithm>
#include <charconv>

#include "engine/core/check.h"
#include "engine/core/json.h"

namespace residuum {
namespace {

constexpr std::string_view kFormat = "residuum training state";
constexpr int64_t kVersion = 1;

// Parses all of `text` in `base`; false when it is anything but a number of type T.
template <typename T>
bool parse_number(std::string_view text, T& value, int base) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size();
}

// The step in `name`, when `rebuild(step)` gives the very same name.
template <typename Rebuild>
int64_t step_in_name(std::string_view name, Rebuild rebuild) {
  constexpr std::string_view kPrefix = "state-";
  if (!name.starts_with(kPrefix)) return -1;
  const std::string_view digits =
      name.substr(kPrefix.size(), name.find_first_of("-.", kPrefix.size()) - kPrefix.size());
  int64_t step = -1;
  if (!parse_number(digits, step, 10) || step < 0 || rebuild(step) != name) return -1;
  return step;
}

// The field of that name and JSON type.
const nlohmann::json& field_of(const std::string& name, const nlohmann::json& json, const char* field,
                               nlohmann::json::value_t type) {
  const auto found = json.find(field);
  check(found != json.end(), ErrorKind::kCheckpoint, "{}: manifest lacks '{}'", name, field);
  check(found->type() == type, ErrorKind::kCheckpoint, "{}: manifest field '{}' is {}, expected {}", name,
        field, found->type_name(), nlohmann::json(type).type_name());
  return *found;
}

}  // namespace

std::string manifest_name(int64_t step) {
  return fmt::format("state-{:010}.json", step);
}

std::string state_file_name(int64_t step, uint32_t crc32c) {
  return fmt::format("state-{:010}-{:08x}.safetensors", step, crc32c);
}

int64_t step_of_manifest_name(std::string_view name) {
  return step_in_name(name, [](int64_t step) { return manifest_name(step); });
}

int64_t step_of_state_file_name(std::string_view name) {
  const size_t dash = name.rfind('-'), dot = name.rfind('.');
  uint32_t crc = 0;
  if (dot == std::string_view::npos || dash == std::string_view::npos || dot < dash ||
      !parse_number(name.substr(dash + 1, dot - dash - 1), crc, 16)) {
    return -1;
  }
  return step_in_name(name, [crc](int64_t step) { return state_file_name(step, crc); });
}

std::string to_json(const StateManifest& manifest) {
  const nlohmann::ordered_json json = {
      {"format", kFormat},     {"version", kVersion},     {"step", manifest.step},
      {"file", manifest.file}, {"bytes", manifest.bytes}, {"crc32c", fmt::format("{:08x}", manifest.crc32c)}};
  return json_text(json, 2) + "\n";
}

StateManifest parse_manifest(const std::string& name, std::string_view text) {
  using Type = nlohmann::json::value_t;
  check(text.size() <= kMaxManifestBytes, ErrorKind::kCheckpoint,
        "{}: manifest has {} bytes, at most {} are expected", name, text.size(), kMaxManifestBytes);
  const nlohmann::json json = try_parse_json(text);
  check(json.is_object(), ErrorKind::kCheckpoint, "{}: manifest is not a JSON object", name);
  const std::string format = field_of(name, json, "format", Type::string);
  check(format == kFormat, ErrorKind::kCheckpoint, "{}: manifest format is '{}', expected '{}'", name, format,
        kFormat);
  const uint64_t version = field_of(name, json, "version", Type::number_unsigned);
  check(version == kVersion, ErrorKind::kCheckpoint, "{}: manifest version is {}, this program reads {}",
        name, version, kVersion);
  StateManifest manifest;
  const uint64_t step = field_of(name, json, "step", Type::number_unsigned);
  check(step <= static_cast<uint64_t>(INT64_MAX), ErrorKind::kCheckpoint, "{}: manifest step {} is too large",
        name, step);
  manifest.step = static_cast<int64_t>(step);
  manifest.bytes = field_of(name, json, "bytes", Type::number_unsigned);
  const std::string crc = field_of(name, json, "crc32c", Type::string);
  check(crc.size() == 8 && parse_number(crc, manifest.crc32c, 16), ErrorKind::kCheckpoint,
        "{}: manifest crc32c is '{}', expected 8 hexadecimal digits", name, crc);
  manifest.file = field_of(name, json, "file", Type::string);
  const std::string expected_file = state_file_name(manifest.step, manifest.crc32c);
  check(manifest.file == expected_file, ErrorKind::kCheckpoint, "{}: manifest file is '{}', expected '{}'",
        name, manifest.file, expected_file);
  return manifest;
}

}  // namespace residuum
