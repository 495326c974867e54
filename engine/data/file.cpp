// POSIX reads (so that a FIFO or a directory in a data set is an error and not a hang) and zlib's inflate.
#include "engine/data/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <limits>
#include <memory>
#include <system_error>
#include <thread>

#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/log.h"

namespace residuum {
namespace {

/// Errors of a file server or a busy machine, not of a file: they may be over in a moment.
class PassingError : public Error {
 public:
  using Error::Error;
};

bool may_pass(int error_number) {
  constexpr std::array kPassing{EIO, ESTALE, ETIMEDOUT, EAGAIN, EMFILE, ENFILE};
  return std::find(kPassing.begin(), kPassing.end(), error_number) != kPassing.end();
}

/// Throws for what a system call has just failed with.
[[noreturn]] void fail_system(ErrorKind kind, const std::filesystem::path& path, const std::string& what) {
  const int number = errno;
  const std::string message =
      fmt::format("{}: {}: {}", path.string(), what, std::generic_category().message(number));
  if (may_pass(number)) throw PassingError(kind, message);
  throw Error(kind, message);
}

FileDescriptor open_to_read(const std::filesystem::path& path) {
  int file = -1;
  do {
    file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (file < 0 && errno == EINTR);
  if (file < 0) fail_system(ErrorKind::kData, path, "cannot open");
  return FileDescriptor(file);
}

std::vector<std::byte> try_to_read(const std::filesystem::path& path, int64_t max_bytes) {
  const FileDescriptor file = open_to_read(path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail_system(ErrorKind::kIo, path, "cannot stat");
  check(S_ISREG(status.st_mode), ErrorKind::kData, "{}: not a regular file", path.string());
  check(status.st_size <= max_bytes, ErrorKind::kData, "{}: {} bytes, allowed are {}", path.string(),
        status.st_size, max_bytes);

  std::vector<std::byte> bytes(static_cast<size_t>(status.st_size));
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_system(ErrorKind::kIo, path, fmt::format("read failed at byte {}", done));
    if (count == 0) break;  // the file shrank: what is left is judged by the parser
    done += static_cast<size_t>(count);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace

std::vector<std::byte> read_file(const std::filesystem::path& path, int64_t max_bytes) {
  for (const int pause_ms : {100, 400, 1500}) {
    try {
      return try_to_read(path, max_bytes);
    } catch (const PassingError& error) {
      log_warning("{}; trying again", error.what());
      std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
    }
  }
  return try_to_read(path, max_bytes);
}

std::vector<std::string> read_lines(const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = read_file(path);
  std::vector<std::string> lines(1);
  for (const std::byte byte : bytes) {
    const char c = static_cast<char>(byte);
    if (c == '\n') {
      lines.emplace_back();
    } else if (c != '\r') {
      lines.back() += c;
    }
  }
  std::erase(lines, "");
  return lines;
}

bool is_gzip(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

std::vector<std::byte> gunzip(std::span<const std::byte> bytes, int64_t max_bytes, const std::string& name) {
  std::vector<std::byte> output = gunzip_head(bytes, max_bytes + 1, name);
  check(static_cast<int64_t>(output.size()) <= max_bytes, ErrorKind::kData,
        "{}: decompresses to more than the {} bytes allowed", name, max_bytes);
  return output;
}

std::vector<std::byte> gunzip_head(std::span<const std::byte> bytes, int64_t max_bytes,
                                   const std::string& name) {
  constexpr int kGzipOnly = 15 + 16;  // zlib: largest window, gzip header required
  constexpr size_t kChunk = 1 << 18;
  z_stream stream{};
  check(inflateInit2(&stream, kGzipOnly) == Z_OK, ErrorKind::kInternal, "zlib: inflateInit2 failed");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, inflateEnd);

  std::vector<std::byte> output, chunk(kChunk);
  size_t consumed = 0;
  while (static_cast<int64_t>(output.size()) < max_bytes) {
    const size_t available = std::min<size_t>(bytes.size() - consumed, std::numeric_limits<uInt>::max());
    // zlib's interface is not const-correct; it only reads.
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data() + consumed));
    stream.avail_in = static_cast<uInt>(available);
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out =
        static_cast<uInt>(std::min<size_t>(kChunk, static_cast<size_t>(max_bytes) - output.size()));
    const size_t room = stream.avail_out;
    const int status = inflate(&stream, Z_NO_FLUSH);
    const size_t produced = room - stream.avail_out;
    consumed += available - stream.avail_in;
    check(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR, ErrorKind::kData,
          "{}: gzip data damaged near byte {}: {}", name, consumed, stream.msg ? stream.msg : zError(status));
    output.insert(output.end(), chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(produced));
    if (status == Z_STREAM_END) {
      if (consumed == bytes.size()) break;
      inflateReset(&stream);  // a further member
    } else {
      check(produced > 0 || consumed < bytes.size(), ErrorKind::kData, "{}: gzip data truncated at {} bytes",
            name, bytes.size());
    }
  }
  return output;
}

}  // namespace residuum
