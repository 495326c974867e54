// residuum version: what this program is and what it can run on.
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <memory>

#include "tools/build_info.h"
#include "tools/exit_codes.h"
#include "tools/output.h"
#include "tools/verbs.h"

namespace residuum {
namespace {

struct VersionOptions {
  bool json = false;
};

int show_version(const VersionOptions& options) {
  const nlohmann::ordered_json libraries = library_versions();
  const nlohmann::ordered_json backends = backend_devices();
  if (options.json) {
    print_json({{"version", kVersion},
                {"commit", kCommit},
                {"compiler", compiler_text()},
                {"libraries", libraries},
                {"backends", backends}});
    return kExitOk;
  }
  std::string text =
      fmt::format("residuum {}\ncommit    {}\ncompiler  {}\n", kVersion, kCommit, compiler_text());
  for (const auto& [name, device] : backends.items()) {
    text += fmt::format("{:<9} {}\n", name, device.is_null() ? "absent" : device.get<std::string>());
  }
  text += "libraries";
  for (const auto& [name, version] : libraries.items()) {
    text += fmt::format(" {} {}", name, version.get<std::string>());
  }
  print_result(text + "\n");
  return kExitOk;
}

}  // namespace

Verb version_verb(const Command& program) {
  const Command command = program.add_command("version", "Version, commit, compiler, libraries and devices");
  const auto options = std::make_shared<VersionOptions>();
  command.add_flag("--json", options->json, "For programs");
  command.footer("Examples:\n  residuum version\n  residuum version --json");
  return {command, [options] { return show_version(*options); }};
}

}  // namespace residuum
