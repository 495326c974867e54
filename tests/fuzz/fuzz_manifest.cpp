// Any bytes are either refused with Error(kCheckpoint) or read as a manifest that names a file of its own
// directory and is the same after writing and reading again.
#include <cstdlib>

#include "engine/checkpoint/manifest.h"
#include "engine/core/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const residuum::StateManifest manifest = residuum::parse_manifest("fuzz", text);
    const bool is_sound = manifest.step >= 0 && manifest.file.find('/') == std::string::npos &&
                          residuum::parse_manifest("again", residuum::to_json(manifest)) == manifest;
    if (!is_sound) std::abort();
  } catch (const residuum::Error& error) {
    if (error.kind() != residuum::ErrorKind::kCheckpoint) std::abort();
  }
  return 0;
}
