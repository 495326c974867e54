// The one layer through which every file is written, so that faults are handled, and injected by tests, in
// one place. Invariant: a file written atomically is seen by a reader, and found after a crash, either whole
// or not at all.
//
// The environment variable RESIDUUM_FAULT="write:7:ENOSPC|fsync:2:EIO|rename:1:KILL" makes the n-th open,
// write, fsync, rename or remove of the process fail with that errno, write one byte only (SHORT), be done
// and then fail with ENOENT, as when a network file system loses an answer and tries again (LOST), or end the
// process (KILL).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "engine/core/check.h"

namespace residuum {

/// No room on the disk, or none left to this user.
class DiskFull : public Error {
 public:
  explicit DiskFull(const std::string& message) : Error(ErrorKind::kIo, message) {}
};

/// The bytes of a text.
inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

/// Owner of a POSIX file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int value) : value_(value) {}
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  int get() const { return value_; }

 private:
  int value_ = -1;
};

/// Writes `parts` one after the other to a temporary beside `path`, makes it durable and renames it to
/// `path`. Throws Error(kIo), DiskFull where that is why, with path, operation and bytes; the temporary is
/// removed and a file already at `path` is intact, unless only the last step, the fsync of the directory,
/// failed: then the new file is in place but not yet durable.
void write_file_atomically(const std::filesystem::path& path,
                           std::span<const std::span<const std::byte>> parts);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// Removes a file; one that is absent already is no error. Throws Error(kIo).
void remove_file(const std::filesystem::path& path);

/// Creates a directory and its parents; throws Error(kIo).
void make_directories(const std::filesystem::path& directory);

/// Removes the temporaries that killed processes left in `directory`, and returns how many.
/// Precondition: no other process is writing there (see DirectoryLock).
int sweep_temporaries(const std::filesystem::path& directory);

/// A file written at its end only, created if absent. Each write reaches the operating system before it
/// returns.
class AppendFile {
 public:
  explicit AppendFile(std::filesystem::path path);

  /// Appends all of `bytes` or, on failure, nothing: the file is cut back and Error(kIo) thrown.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(bytes_of(text)); }
  /// Makes everything written so far durable.
  void sync();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
};

/// A regular file open for reading.
class InputFile {
 public:
  /// Throws Error(kIo) for a file that is absent, unreadable or not a regular file.
  explicit InputFile(std::filesystem::path path);

  uint64_t size() const { return size_; }
  /// Fills `bytes` from `offset`; throws Error(kIo) when the file ends before.
  void read(uint64_t offset, std::span<std::byte> bytes) const;

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  uint64_t size_ = 0;
};

/// The whole content of a file; throws Error(kIo), also for a file above `max_bytes`, before allocating.
std::string read_text_file(const std::filesystem::path& path,
                           uint64_t max_bytes = std::numeric_limits<uint64_t>::max());

/// Exclusive use of a directory by one process, through flock on DIRECTORY/lock, which names the holder's pid
/// and host. The operating system frees the lock of a dead process, so a stale lock file is simply taken
/// over.
class DirectoryLock {
 public:
  /// Throws Error(kIo) naming the holder when another process, or another DirectoryLock of this one, has the
  /// lock.
  explicit DirectoryLock(const std::filesystem::path& directory);
  DirectoryLock(DirectoryLock&&) = default;
  DirectoryLock& operator=(DirectoryLock&&) = default;

 private:
  FileDescriptor file_;
};

/// Exclusive use of what a lock file stands for, waited for; the file stays, and a dead process's lock is
/// free.
class FileLock {
 public:
  /// Creates the file when it is absent. Throws Error(kIo). On a file system without locks nothing is locked.
  explicit FileLock(const std::filesystem::path& path);

 private:
  FileDescriptor file_;
};

/// For tests: replaces the faults of RESIDUUM_FAULT by `spec` (empty: none) and counts calls from one again.
/// Throws Error(kUsage) for a spec that is not understood.
void inject_file_faults(std::string_view spec);

}  // namespace residuum
