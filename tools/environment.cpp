#include "tools/environment.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/core/file.h"
#include "tools/build_info.h"

namespace residuum {

void EnvironmentObserver::on_start(const RunInfo& info) {
  utsname system{};
  uname(&system);
  const nlohmann::ordered_json environment = {
      {"version", kVersion},
      {"commit", kCommit},
      {"date", utc_time("%Y-%m-%dT%H:%M:%SZ")},
      {"command_line", command_line_},
      {"host", system.nodename},
      {"system", std::string(system.sysname) + " " + system.release + " " + system.machine},
      {"process", getpid()},
      {"device", info.device},
      {"compiler", compiler_text()},
      {"libraries", library_versions()},
      {"resumed_step", info.resumed_step},
  };
  constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;  // of what is not UTF-8
  write_file_atomically(info.out / "environment.json", environment.dump(2, ' ', false, kReplace) + "\n");
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
