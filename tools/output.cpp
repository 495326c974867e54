#include "tools/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "engine/core/check.h"
#include "engine/core/json.h"

namespace residuum {

void print_result(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  const bool flushed = written && std::fflush(stdout) == 0;
  check(flushed || errno == EPIPE, ErrorKind::kIo, "standard output: {}", std::strerror(errno));
}

void print_json(const nlohmann::ordered_json& json) {
  // Paths and class names need not be UTF-8.
  print_result(lossy_json_text(json, 2) + "\n");
}

void check_can_write(const std::string& file) {
  if (file.empty() || file == "-") return;
  const std::filesystem::path folder = std::filesystem::absolute(file).parent_path();
  check(access(folder.c_str(), W_OK) == 0, ErrorKind::kIo, "cannot write {}: {}", file, std::strerror(errno));
}

}  // namespace residuum
