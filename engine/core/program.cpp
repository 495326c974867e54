#include "engine/core/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "engine/core/check.h"
#include "engine/core/file.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Pipe {
  FileDescriptor reader, writer;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  check(pipe2(ends.data(), O_CLOEXEC) == 0, ErrorKind::kIo, "pipe: {}", std::strerror(errno));
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

/// Starts the program with its streams in the pipes, whose writing ends are closed here.
pid_t start(const fs::path& program, const std::vector<std::string>& arguments, Pipe output, Pipe errors) {
  std::vector<std::string> words = {program.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output.writer.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors.writer.get(), STDERR_FILENO);
  pid_t child = 0;
  const int status = posix_spawn(&child, program.c_str(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  check(status == 0, ErrorKind::kUsage, "{}: {}", program.string(), std::strerror(status));
  return child;
}

/// Appends what is there; false at the end of the stream.
bool append_available(int descriptor, std::string& text) {
  std::array<char, 1 << 16> buffer;
  const ssize_t count = read(descriptor, buffer.data(), buffer.size());
  if (count > 0) text.append(buffer.data(), static_cast<size_t>(count));
  return count > 0 || (count < 0 && errno == EINTR);
}

/// Reads both streams to their ends; false when the time was over before.
bool read_all(int output, int errors, ProgramResult& result, Clock::time_point deadline) {
  std::array<pollfd, 2> streams = {pollfd{output, POLLIN, 0}, pollfd{errors, POLLIN, 0}};
  while (streams[0].fd >= 0 || streams[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    if (poll(streams.data(), streams.size(), static_cast<int>(std::min<int64_t>(left, 1000))) < 0) continue;
    for (pollfd& stream : streams) {
      std::string& text = &stream == &streams[0] ? result.output : result.errors;
      if (stream.revents != 0 && !append_available(stream.fd, text)) stream.fd = -1;  // poll passes it over
    }
  }
  return true;
}

int exit_code_of(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

std::vector<fs::path> path_folders() {
  const char* variable = std::getenv("PATH");
  const std::string path = variable == nullptr ? "" : variable;
  std::vector<fs::path> folders;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    if (end > begin) folders.emplace_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return folders;
}

bool is_program(const fs::path& file) {
  std::error_code none;
  return fs::is_regular_file(file, none) && access(file.c_str(), X_OK) == 0;
}

std::optional<fs::path> find_program(const std::vector<std::string>& names,
                                     const std::vector<fs::path>& folders) {
  for (const fs::path& folder : folders) {
    for (const std::string& name : names) {
      if (is_program(folder / name)) return folder / name;
    }
  }
  return std::nullopt;
}

ProgramResult run_program(const fs::path& program, const std::vector<std::string>& arguments,
                          double seconds) {
  const Clock::time_point deadline =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  Pipe output = make_pipe(), errors = make_pipe();
  const FileDescriptor from_output = std::move(output.reader), from_errors = std::move(errors.reader);
  const pid_t child = start(program, arguments, std::move(output), std::move(errors));
  ProgramResult result;
  const bool in_time = read_all(from_output.get(), from_errors.get(), result, deadline);
  if (!in_time) kill(child, SIGKILL);
  result.exit_code = exit_code_of(child);
  check(in_time, ErrorKind::kIo, "{} has not ended within {} s", program.string(), seconds);
  return result;
}

}  // namespace residuum
