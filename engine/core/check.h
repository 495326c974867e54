// Errors of the engine: one exception type with a kind, thrown through check() and fail().
// A message names the thing, the value found and the value allowed.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace residuum {

/// What went wrong; the command line maps each kind to an exit code (tools/exit_codes.h).
enum class ErrorKind {
  kUsage,          ///< impossible command line
  kConfig,         ///< recipe key unknown, or value out of its range
  kShape,          ///< tensor shapes that do not fit an operation
  kData,           ///< data set or image missing, corrupt or out of range
  kCheckpoint,     ///< weights or training state missing, corrupt or not fitting the model
  kIo,             ///< operating system refused a read or a write
  kDevice,         ///< device absent, out of memory or failed
  kCommunication,  ///< another rank absent, different, stuck or dead
  kNumeric,        ///< NaN or infinity in loss or gradients
  kInternal,       ///< broken invariant of the engine itself
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// Throws Error(kind, formatted message).
template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws Error(kind, formatted message) unless `condition` holds.
template <typename... Args>
void check(bool condition, ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) fail(kind, format, std::forward<Args>(args)...);
}

}  // namespace residuum
