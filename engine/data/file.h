// Whole files into memory, and gzip; every error names the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace residuum {

/// Above this no file of a data set is read.
inline constexpr int64_t kLargestDataFile = int64_t{1} << 34;

/// The bytes of a regular file. What a file server gets over is tried again for two seconds, so that it does
/// not cost a sample. Throws Error(kData) if the file cannot be opened, is no regular file or has more than
/// `max_bytes`, before any memory is allocated; kIo if a read fails.
std::vector<std::byte> read_file(const std::filesystem::path& path, int64_t max_bytes = kLargestDataFile);

/// The lines of a text file without line ends and without empty lines. Errors as read_file.
std::vector<std::string> read_lines(const std::filesystem::path& path);

/// True if the bytes start with gzip's magic number.
bool is_gzip(std::span<const std::byte> bytes);

/// The decompressed contents of one or more gzip members (RFC 1952).
/// Throws Error(kData) naming `name` for damaged or truncated input, or for more than `max_bytes` of output.
std::vector<std::byte> gunzip(std::span<const std::byte> bytes, int64_t max_bytes, const std::string& name);

/// The first `max_bytes` of what gunzip would give, or fewer if there are fewer. Errors as gunzip.
std::vector<std::byte> gunzip_head(std::span<const std::byte> bytes, int64_t max_bytes,
                                   const std::string& name);

}  // namespace residuum
