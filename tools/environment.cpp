#include "tools/environment.h"

#include <fmt/core.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <fstream>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tools/build_info.h"

namespace residuum {

nlohmann::ordered_json environment_of(const std::string& device) {
  utsname system{};
  uname(&system);
  return {
      {"version", kVersion},
      {"commit", kCommit},
      {"date", utc_time("%Y-%m-%dT%H:%M:%SZ")},
      {"command_line", process_command_line()},
      {"host", system.nodename},
      {"system", std::string(system.sysname) + " " + system.release + " " + system.machine},
      {"process", getpid()},
      {"device", device},
      {"compiler", compiler_text()},
      {"libraries", library_versions()},
  };
}

std::vector<std::pair<std::string, std::string>> program_facts() {
  return {
      {"program", fmt::format("residuum {}, commit {}", kVersion, std::string_view(kCommit).substr(0, 12))},
      {"date", utc_time("%Y-%m-%d %H:%M UTC")}};
}

std::string environment_text(const nlohmann::ordered_json& json) {
  return lossy_json_text(json, 2) + "\n";
}

void EnvironmentObserver::on_start(const RunInfo& info) {
  nlohmann::ordered_json environment = environment_of(info.device);
  environment["resumed_step"] = info.resumed_step;
  write_file_atomically(info.out / "environment.json", environment_text(environment));
}

std::vector<std::string> process_command_line() {
  std::vector<std::string> words;
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  return words;
}

std::string utc_time(const char* format) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), format, &parts)};
}

}  // namespace residuum
