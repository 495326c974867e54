// What this program was built from and with.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace residuum {

/// "0.1.0"
extern const char* const kVersion;
/// The git commit of the sources, with "-dirty" when files differ from it, or "unknown" outside of a
/// repository. From commit.cpp, which the build writes anew when the commit changes.
extern const char* const kCommit;

/// "gcc 12.2.0"
std::string compiler_text();

/// Library name -> version.
nlohmann::ordered_json library_versions();

/// Backend name -> its device, null for a backend that this build or machine does not have.
nlohmann::ordered_json backend_devices();

}  // namespace residuum
