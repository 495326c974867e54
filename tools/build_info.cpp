#include "tools/build_info.h"

#include <fmt/format.h>
#include <png.h>
#include <spdlog/version.h>
#include <toml++/toml.h>
#include <zlib.h>
#include <CLI/Version.hpp>

#include "engine/backend/backend.h"
#include "engine/core/check.h"

namespace residuum {

const char* const kVersion = RESIDUUM_VERSION;

std::string compiler_text() {
#ifdef __clang__
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
  return fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

nlohmann::ordered_json library_versions() {
  const auto dotted = [](int major, int minor, int patch) {
    return fmt::format("{}.{}.{}", major, minor, patch);
  };
  return {
      {"CLI11", CLI11_VERSION},
      {"fmt", dotted(FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
      {"libjpeg-turbo", RESIDUUM_JPEG_VERSION},
      {"libpng", PNG_LIBPNG_VER_STRING},
      {"nlohmann-json",
       dotted(NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH)},
      {"spdlog", dotted(SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH)},
      {"toml++", dotted(TOML_LIB_MAJOR, TOML_LIB_MINOR, TOML_LIB_PATCH)},
      {"zlib", ZLIB_VERSION},
  };
}

nlohmann::ordered_json backend_devices() {
  nlohmann::ordered_json devices;
  for (const char* name : {"cpu", "cuda"}) {
    try {
      devices[name] = make_backend(name, {})->describe();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kDevice) throw;
      devices[name] = nullptr;
    }
  }
  return devices;
}

}  // namespace residuum
