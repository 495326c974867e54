// POSIX calls with faults injected in front of them. Every call that changes the file system is made in this
// file. EINTR is retried, a short write continued; any other failure becomes an Error(kIo).
#include "engine/core/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "engine/core/check.h"
#include "engine/core/log.h"

namespace residuum {
namespace fs = std::filesystem;
namespace {

enum class Operation { kOpen, kWrite, kFsync, kRename, kRemove };
constexpr std::array<std::string_view, 5> kOperationNames = {"open", "write", "fsync", "rename", "remove"};

// Effects that are no errno.
constexpr int kKill = -1;
constexpr int kShort = -2;
constexpr int kLost = -3;
constexpr std::array<std::pair<std::string_view, int>, 10> kEffects = {{{"KILL", kKill},
                                                                        {"SHORT", kShort},
                                                                        {"LOST", kLost},
                                                                        {"ENOSPC", ENOSPC},
                                                                        {"EIO", EIO},
                                                                        {"EDQUOT", EDQUOT},
                                                                        {"EROFS", EROFS},
                                                                        {"EACCES", EACCES},
                                                                        {"EINTR", EINTR},
                                                                        {"EMFILE", EMFILE}}};

struct Fault {
  Operation operation;
  uint64_t call;  // counted from one
  int effect;     // an errno, kKill, kShort or kLost
};

Fault parse_fault(std::string_view entry) {
  const size_t first = entry.find(':'), second = entry.find(':', first + 1);
  const auto reject = [&] {
    fail(ErrorKind::kUsage,
         "RESIDUUM_FAULT entry '{}' is not OPERATION:CALL:EFFECT with an operation of {}, a call from 1 and "
         "an "
         "effect of KILL, SHORT (of write), LOST (of rename and remove) or an errno such as ENOSPC",
         entry, fmt::join(kOperationNames, ", "));
  };
  if (first == std::string_view::npos || second == std::string_view::npos) reject();
  const auto name = std::find(kOperationNames.begin(), kOperationNames.end(), entry.substr(0, first));
  const std::string_view number = entry.substr(first + 1, second - first - 1),
                         word = entry.substr(second + 1);
  const auto effect =
      std::find_if(kEffects.begin(), kEffects.end(), [&](const auto& e) { return e.first == word; });
  uint64_t call = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), call);
  if (name == kOperationNames.end() || effect == kEffects.end() || error != std::errc() ||
      end != number.data() + number.size() || call == 0 || (word == "SHORT" && *name != "write") ||
      (word == "LOST" && *name != "rename" && *name != "remove")) {
    reject();
  }
  return {static_cast<Operation>(name - kOperationNames.begin()), call, effect->second};
}

std::vector<Fault> parse_faults(std::string_view spec) {
  std::vector<Fault> faults;
  while (!spec.empty()) {
    const size_t bar = std::min(spec.find('|'), spec.size());
    faults.push_back(parse_fault(spec.substr(0, bar)));
    spec.remove_prefix(std::min(bar + 1, spec.size()));
  }
  return faults;
}

// The calls counted so far in this process, and the faults waiting for them.
class FaultSwitch {
 public:
  static FaultSwitch& instance() {
    static FaultSwitch faults;
    return faults;
  }
  void arm(std::string_view spec) {
    const std::lock_guard lock(mutex_);
    faults_ = parse_faults(spec);
    calls_ = {};
  }
  // Counts one call; returns zero or the effect the call must have. Does not return from KILL.
  int count(Operation operation) {
    const std::lock_guard lock(mutex_);
    const uint64_t call = ++calls_[static_cast<size_t>(operation)];
    for (const Fault& fault : faults_) {
      if (fault.operation != operation || fault.call != call) continue;
      if (fault.effect == kKill) std::raise(SIGKILL);
      return fault.effect;
    }
    return 0;
  }

 private:
  FaultSwitch() {
    const char* spec = std::getenv("RESIDUUM_FAULT");
    faults_ = parse_faults(spec != nullptr ? spec : "");
  }

  std::mutex mutex_;
  std::vector<Fault> faults_;
  std::array<uint64_t, kOperationNames.size()> calls_{};
};

// Makes one system call, or fails in its place; retries on EINTR. Returns the call's result, -1 with errno
// set.
template <typename Call>
auto call_system(Operation operation, Call call) -> decltype(call()) {
  while (true) {
    const int effect = FaultSwitch::instance().count(operation);
    if (effect > 0) errno = effect;
    auto result = effect > 0 ? decltype(call()){-1} : call();
    if (effect == kLost) {
      result = -1;
      errno = ENOENT;
    }
    if (result != -1 || errno != EINTR) return result;
  }
}

[[noreturn]] void fail_io(std::string_view what, const fs::path& path) {
  const int error = errno;
  const std::string message =
      fmt::format("cannot {} {}: {}", what, path.string(), std::generic_category().message(error));
  if (error == ENOSPC || error == EDQUOT) throw DiskFull(message);
  throw Error(ErrorKind::kIo, message);
}

FileDescriptor open_file(const fs::path& path, int flags) {
  const int fd = call_system(Operation::kOpen, [&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0666); });
  if (fd < 0) fail_io("open", path);
  return FileDescriptor(fd);
}

void sync_file(const FileDescriptor& file, const fs::path& path) {
  if (call_system(Operation::kFsync, [&] { return ::fsync(file.get()); }) != 0) fail_io("fsync", path);
}

void write_all(const FileDescriptor& file, std::span<const std::byte> bytes, const fs::path& path) {
  size_t done = 0;
  while (done < bytes.size()) {
    const int effect = FaultSwitch::instance().count(Operation::kWrite);
    const size_t wanted = effect == kShort ? 1 : bytes.size() - done;
    if (effect > 0) errno = effect;
    const ssize_t written = effect > 0 ? -1 : ::write(file.get(), bytes.data() + done, wanted);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_io(fmt::format("write {} bytes (after {}) to", bytes.size() - done, done), path);
    done += static_cast<size_t>(written);
  }
}

void sync_directory(const fs::path& directory) {
  const FileDescriptor file = open_file(directory, O_RDONLY | O_DIRECTORY);
  const int result = call_system(Operation::kFsync, [&] { return ::fsync(file.get()); });
  // Some network file systems have no fsync for directories and say EINVAL.
  if (result != 0 && errno != EINVAL) fail_io("fsync directory", directory);
}

fs::path directory_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

// Renames an open file. A network file system may do it, lose its answer and find nothing to rename when it
// tries again: the file is where it belongs then.
bool rename_open_file(const FileDescriptor& file, const fs::path& from, const fs::path& to) {
  if (call_system(Operation::kRename, [&] { return ::rename(from.c_str(), to.c_str()); }) == 0) return true;
  const int error = errno;
  struct stat open {
  }, there{};
  const bool moved = error == ENOENT && ::fstat(file.get(), &open) == 0 && ::stat(to.c_str(), &there) == 0 &&
                     open.st_dev == there.st_dev && open.st_ino == there.st_ino;
  errno = error;
  return moved;
}

// ".NAME.tmp.PID": the form sweep_temporaries() recognises.
constexpr std::string_view kTemporaryInfix = ".tmp.";

fs::path temporary_of(const fs::path& path) {
  return directory_of(path) / fmt::format(".{}{}{}", path.filename().string(), kTemporaryInfix, ::getpid());
}

bool is_temporary(std::string_view name) {
  const size_t infix = name.rfind(kTemporaryInfix);
  if (name.empty() || name[0] != '.' || infix == std::string_view::npos) return false;
  const std::string_view pid = name.substr(infix + kTemporaryInfix.size());
  return !pid.empty() && pid.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(value_, other.value_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (value_ >= 0) ::close(value_);
}

void write_file_atomically(const fs::path& path, std::span<const std::span<const std::byte>> parts) {
  const fs::path temporary = temporary_of(path);
  try {
    const FileDescriptor file = open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    for (const std::span<const std::byte> part : parts) write_all(file, part, path);
    sync_file(file, path);
    if (!rename_open_file(file, temporary, path)) {
      fail_io(fmt::format("rename {} to", temporary.filename().string()), path);
    }
  } catch (const Error&) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_directory(directory_of(path));
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  const std::array parts = {bytes_of(text)};
  write_file_atomically(path, parts);
}

void remove_file(const fs::path& path) {
  if (call_system(Operation::kRemove, [&] { return ::unlink(path.c_str()); }) != 0 && errno != ENOENT) {
    fail_io("remove", path);
  }
}

void make_directories(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  check(!error, ErrorKind::kIo, "cannot create directory {}: {}", directory.string(), error.message());
}

int sweep_temporaries(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> stale;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (is_temporary(it->path().filename().string())) stale.push_back(it->path());
  }
  check(!error, ErrorKind::kIo, "cannot list directory {}: {}", directory.string(), error.message());
  for (const fs::path& path : stale) remove_file(path);
  return static_cast<int>(stale.size());
}

AppendFile::AppendFile(fs::path path)
    : path_(std::move(path)), file_(open_file(path_, O_WRONLY | O_CREAT | O_APPEND)) {}

void AppendFile::write(std::span<const std::byte> bytes) {
  const off_t before = ::lseek(file_.get(), 0, SEEK_END);
  if (before < 0) fail_io("seek in", path_);
  try {
    write_all(file_, bytes, path_);
  } catch (const Error&) {
    if (::ftruncate(file_.get(), before) != 0) {
      log_warning("{}: an incomplete write could not be cut off", path_.string());
    }
    throw;
  }
}

void AppendFile::sync() {
  sync_file(file_, path_);
}

InputFile::InputFile(fs::path path) : path_(std::move(path)) {
  file_ = FileDescriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a FIFO must not block
  struct stat status {};
  if (file_.get() < 0) fail_io("open", path_);
  if (::fstat(file_.get(), &status) != 0) fail_io("examine", path_);
  check(S_ISREG(status.st_mode), ErrorKind::kIo, "cannot read {}: it is not a regular file", path_.string());
  size_ = static_cast<uint64_t>(status.st_size);
}

void InputFile::read(uint64_t offset, std::span<std::byte> bytes) const {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got =
        ::pread(file_.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_io(fmt::format("read {} bytes at {} of", bytes.size() - done, offset + done), path_);
    check(got > 0, ErrorKind::kIo, "cannot read {} bytes at {} of {}: the file ends there",
          bytes.size() - done, offset + done, path_.string());
    done += static_cast<size_t>(got);
  }
}

std::string read_text_file(const fs::path& path, uint64_t max_bytes) {
  const InputFile file(path);
  check(file.size() <= max_bytes, ErrorKind::kIo, "{} has {} bytes, at most {} are expected", path.string(),
        file.size(), max_bytes);
  std::string content(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(content)));
  return content;
}

DirectoryLock::DirectoryLock(const fs::path& directory) {
  const fs::path path = directory / "lock";
  file_ = open_file(path, O_RDWR | O_CREAT);
  while (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) {
      fail(ErrorKind::kIo, "directory {} is in use by {}: wait for it to end or choose another directory",
           directory.string(), read_text_file(path, 4096));
    }
    if (errno != ENOTSUP && errno != ENOSYS && errno != ENOLCK) fail_io("lock", path);
    log_warning("{}: this file system has no locks; take care that no other process uses the directory",
                directory.string());
    break;
  }
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host = {"unknown"};
  if (::ftruncate(file_.get(), 0) != 0) fail_io("truncate", path);
  write_all(file_, bytes_of(fmt::format("process {} on host {}", ::getpid(), host.data())), path);
}

FileLock::FileLock(const fs::path& path) : file_(open_file(path, O_RDWR | O_CREAT)) {
  while (::flock(file_.get(), LOCK_EX) != 0) {
    if (errno == EINTR) continue;
    if (errno != ENOTSUP && errno != ENOSYS && errno != ENOLCK) fail_io("lock", path);
    return;
  }
}

void inject_file_faults(std::string_view spec) {
  FaultSwitch::instance().arm(spec);
}

}  // namespace residuum
