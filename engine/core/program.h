// Other programs: where they are, and what they print. Invariant: a program that was started has ended when
// its result is there.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace residuum {

/// The folders of the environment variable PATH, in their order.
std::vector<std::filesystem::path> path_folders();

/// The first of `folders` that holds a program of one of these names that this process may run.
std::optional<std::filesystem::path> find_program(const std::vector<std::string>& names,
                                                  const std::vector<std::filesystem::path>& folders);

/// Whether this process may run that file.
bool is_program(const std::filesystem::path& file);

struct ProgramResult {
  int exit_code = 0;           ///< 128 + the signal's number when a signal ended it
  std::string output, errors;  ///< what came on each of its streams
};

/// Runs a program with `arguments` to its end. Throws Error(kUsage) naming it when it cannot be started, and
/// Error(kIo) when it has not ended within `seconds`; then it is killed.
ProgramResult run_program(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                          double seconds);

}  // namespace residuum
