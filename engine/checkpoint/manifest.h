// The manifest of one training state: a small JSON file that names the state's tensor file with its size and
// checksum. Its rename into place is the moment a state comes into being; a state without a manifest does not
// exist.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace residuum {

struct StateManifest {
  int64_t step = 0;
  std::string
      file;  ///< name in the manifest's directory; holds the checksum, so no state is ever overwritten
  uint64_t bytes = 0;
  uint32_t crc32c = 0;

  bool operator==(const StateManifest&) const = default;
};

/// A manifest larger than this many bytes is not one.
inline constexpr uint64_t kMaxManifestBytes = 65536;

/// "state-0000000123.json"
std::string manifest_name(int64_t step);

/// "state-0000000123-8a9136aa.safetensors"
std::string state_file_name(int64_t step, uint32_t crc32c);

/// The step of a name that manifest_name() or state_file_name() made, or -1 for any other name.
int64_t step_of_manifest_name(std::string_view name);
int64_t step_of_state_file_name(std::string_view name);

std::string to_json(const StateManifest& manifest);

/// Inverse of to_json(); throws Error(kCheckpoint), with `name` for the file, unless every field is there and
/// valid.
StateManifest parse_manifest(const std::string& name, std::string_view json);

}  // namespace residuum
