#include "engine/core/log.h"

#include <spdlog/spdlog.h>

namespace residuum {

void log_line(LogLevel level, const std::string& line) {
  spdlog::log(level == LogLevel::kInfo ? spdlog::level::info : spdlog::level::warn, line);
}

}  // namespace residuum
