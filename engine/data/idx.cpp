// Parser of IDX files. Sizes are computed in 64 bits and bounded before anything of that size is allocated.
#include "engine/data/idx.h"

#include <optional>
#include <system_error>
#include <utility>

#include "engine/core/check.h"
#include "engine/data/file.h"
#include "engine/data/memory_dataset.h"

namespace residuum {
namespace {

constexpr uint32_t kImagesMagic = 0x803, kLabelsMagic = 0x801;
constexpr int64_t kMaxCount = 0x7FFFFFFF;
constexpr int64_t kMaxSide = 1 << 14;     // rows, columns: far above any data set of this format
constexpr int64_t kMaxBytes = 1LL << 33;  // of one decompressed file: 8 GiB
constexpr int64_t kLargestHeader = 16;
constexpr int kDefaultClasses = 10;

uint32_t big_endian(std::span<const std::byte> bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | std::to_integer<uint32_t>(bytes[offset + i]);
  return value;
}

/// What a file's header says: its extents, and the bytes of header and data together.
struct Header {
  std::vector<int64_t> extents;
  int64_t header_bytes = 0, file_bytes = 0;
};

Header parse_header(std::span<const std::byte> head, uint32_t magic, size_t rank, const std::string& name) {
  Header header;
  header.header_bytes = static_cast<int64_t>(4 + 4 * rank);
  check(static_cast<int64_t>(head.size()) >= header.header_bytes, ErrorKind::kData,
        "{}: {} bytes, an IDX header needs {}", name, head.size(), header.header_bytes);
  const uint32_t found = big_endian(head, 0);
  check(found == magic, ErrorKind::kData, "{}: IDX magic number {:#x}, expected {:#x}", name, found, magic);
  int64_t product = 1;
  for (size_t i = 0; i < rank; ++i) {
    const int64_t extent = big_endian(head, 4 + 4 * i);
    const int64_t limit = i == 0 ? kMaxCount : kMaxSide;
    check(extent >= 1 && extent <= limit, ErrorKind::kData,
          "{}: extent {} of the IDX header is {}, allowed are 1 to {}", name, i, extent, limit);
    header.extents.push_back(extent);
    product *= extent;  // at most 2^31 * 2^14 * 2^14: no overflow
  }
  header.file_bytes = header.header_bytes + product;
  check(header.file_bytes <= kMaxBytes, ErrorKind::kData, "{}: the IDX header says {} bytes, allowed are {}",
        name, header.file_bytes, kMaxBytes);
  return header;
}

/// A checked header, and the data behind it.
struct Parsed {
  Header header;
  std::vector<uint8_t> data;
};

/// Parses a plain or a compressed file; inflates no more than the header says.
Parsed parse(std::span<const std::byte> file, uint32_t magic, size_t rank, const std::string& name) {
  const bool compressed = is_gzip(file);
  const auto head = compressed ? gunzip_head(file, kLargestHeader, name) : std::vector<std::byte>{};
  Parsed parsed{parse_header(compressed ? head : file, magic, rank, name), {}};
  const int64_t expected = parsed.header.file_bytes;
  const auto inflated = compressed ? gunzip(file, expected, name) : std::vector<std::byte>{};
  const std::span<const std::byte> bytes = compressed ? inflated : file;
  check(static_cast<int64_t>(bytes.size()) == expected, ErrorKind::kData,
        "{}: {} bytes, the IDX header says {}", name, bytes.size(), expected);
  const auto* first = reinterpret_cast<const uint8_t*>(bytes.data());
  parsed.data.assign(first + parsed.header.header_bytes, first + bytes.size());
  return parsed;
}

/// root/stem or root/stem.gz, whichever exists.
std::optional<std::filesystem::path> find_idx(const std::filesystem::path& root, const std::string& stem) {
  for (const char* suffix : {"", ".gz"}) {
    std::filesystem::path path = root / (stem + suffix);
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored)) return path;
  }
  return std::nullopt;
}

std::filesystem::path require_idx(const std::filesystem::path& root, const std::string& stem) {
  auto path = find_idx(root, stem);
  check(path.has_value(), ErrorKind::kData, "{}: {}[.gz] is missing", root.string(), stem);
  return *path;
}

}  // namespace

IdxImages parse_idx_images(std::span<const std::byte> file, const std::string& name) {
  Parsed parsed = parse(file, kImagesMagic, 3, name);
  const std::vector<int64_t>& extents = parsed.header.extents;
  return {extents[0], static_cast<int>(extents[1]), static_cast<int>(extents[2]), std::move(parsed.data)};
}

std::vector<uint8_t> parse_idx_labels(std::span<const std::byte> file, const std::string& name) {
  return parse(file, kLabelsMagic, 1, name).data;
}

std::unique_ptr<Dataset> open_idx(const std::filesystem::path& root, Split split) {
  if (!find_idx(root, "train-images-idx3-ubyte") && !find_idx(root, "t10k-images-idx3-ubyte")) return nullptr;
  const std::string prefix = split == Split::kTrain ? "train" : "t10k";
  const auto images_path = require_idx(root, prefix + "-images-idx3-ubyte");
  const auto labels_path = require_idx(root, prefix + "-labels-idx1-ubyte");
  IdxImages images = parse_idx_images(read_file(images_path), images_path.string());
  const std::vector<uint8_t> labels = parse_idx_labels(read_file(labels_path), labels_path.string());
  check(images.count == static_cast<int64_t>(labels.size()), ErrorKind::kData,
        "{}: {} images, but {} has {} labels", images_path.string(), images.count, labels_path.string(),
        labels.size());

  MemoryDataset::Contents contents;
  contents.shape = {images.height, images.width, 1};
  contents.pixels = std::move(images.pixels);
  contents.labels.assign(labels.begin(), labels.end());
  const std::filesystem::path names = root / "classes.txt";
  std::error_code ignored;
  contents.classes =
      std::filesystem::exists(names, ignored) ? read_lines(names) : numbered_classes(kDefaultClasses);
  contents.sources = {{0, labels_path.string()}};
  return std::make_unique<MemoryDataset>(std::move(contents));
}

}  // namespace residuum
