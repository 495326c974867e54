// Where a kernel calls a barrier or a warp function: file, line and column. Used as a default argument, so that
// it names the caller's place; two calls belong together only if they come from the same place.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#ifndef __clang__
#include <source_location>
#endif

namespace residuum::emulator {

struct CallSite {
  const char* file = "";
  uint32_t line = 0, column = 0;

#ifdef __clang__  // version 14 has no std::source_location, g++ 12 has no __builtin_COLUMN
  static constexpr CallSite current(const char* file = __builtin_FILE(), uint32_t line = __builtin_LINE(),
                                    uint32_t column = __builtin_COLUMN()) {
    return {file, line, column};
  }
#else
  static constexpr CallSite current(std::source_location place = std::source_location::current()) {
    return {place.file_name(), place.line(), place.column()};
  }
#endif

  bool operator==(const CallSite& other) const {
    return line == other.line && column == other.column &&
           (file == other.file || std::strcmp(file, other.file) == 0);
  }
};

inline std::string to_string(const CallSite& site) {
  return std::string(site.file) + ":" + std::to_string(site.line) + ":" + std::to_string(site.column);
}

}  // namespace residuum::emulator
