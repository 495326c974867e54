#include "tools/build_info.h"

#include <fmt/core.h>
#include <cstdio>  // jpeglib.h wants FILE
#include <nlohmann/json.hpp>

#include <jpeglib.h>
#include <png.h>
#include <spdlog/version.h>
#include <zlib.h>
#include <CLI/Version.hpp>

#include "engine/backend/backend.h"
#include "engine/comm/mpi_network.h"
#include "engine/core/check.h"
#include "engine/core/version.h"
#include "tools/page/page.h"

namespace residuum {

#define RESIDUUM_TEXT_OF_TOKENS(tokens) #tokens
#define RESIDUUM_TEXT_OF(macro) RESIDUUM_TEXT_OF_TOKENS(macro)

const char* const kVersion = RESIDUUM_TEXT_OF(RESIDUUM_VERSION_MAJOR) "." RESIDUUM_TEXT_OF(
    RESIDUUM_VERSION_MINOR) "." RESIDUUM_TEXT_OF(RESIDUUM_VERSION_PATCH);

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
  nlohmann::ordered_json versions = {
      {"CLI11", CLI11_VERSION},
      {"echarts", chart_library_version()},
      {"fmt", dotted(FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
      {"libjpeg-turbo", RESIDUUM_TEXT_OF(LIBJPEG_TURBO_VERSION)},
      {"libpng", PNG_LIBPNG_VER_STRING},
      {"nlohmann-json",
       dotted(NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH)},
      {"spdlog", dotted(SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH)},
      {"toml++", RESIDUUM_TOMLPLUSPLUS_VERSION},
      {"zlib", ZLIB_VERSION},
  };
  if (const std::string mpi = mpi_version(); !mpi.empty()) versions["mpi"] = mpi;
  return versions;
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
