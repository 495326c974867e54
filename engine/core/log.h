// Messages that are no errors: lines for spdlog's default logger, which the program or the user of the
// library chooses. spdlog's header is included by log.cpp alone: a file that formats through it takes seconds
// longer to compile.
#pragma once

#include <fmt/core.h>

#include <string>
#include <utility>

namespace residuum {

enum class LogLevel { kInfo, kWarning };

/// One line. Never throws: what spdlog cannot write is lost.
void log_line(LogLevel level, const std::string& line);

template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace residuum
