// Parser of the CIFAR binary files; planes become interleaved pixels once, at opening.
#include "engine/data/cifar.h"

#include <algorithm>
#include <array>
#include <optional>
#include <system_error>
#include <utility>

#include "engine/core/check.h"
#include "engine/data/file.h"
#include "engine/data/memory_dataset.h"

namespace residuum {
namespace {

constexpr size_t kPlane = 32 * 32;

/// Where the files of one CIFAR variant lie and how they are called.
struct Layout {
  CifarFormat format;
  const char* folder;
  const char* names_file;
  std::vector<std::string> train, test;
};

const std::array<Layout, 2>& layouts() {
  static const std::array<Layout, 2> all{
      Layout{kCifar10,
             "cifar-10-batches-bin",
             "batches.meta.txt",
             {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
              "data_batch_5.bin"},
             {"test_batch.bin"}},
      Layout{kCifar100, "cifar-100-binary", "fine_label_names.txt", {"train.bin"}, {"test.bin"}}};
  return all;
}

std::optional<std::filesystem::path> find_folder(const std::filesystem::path& root, const Layout& layout) {
  for (const std::filesystem::path& folder : {root, root / layout.folder}) {
    std::error_code ignored;
    for (const auto* files : {&layout.train, &layout.test}) {
      if (std::filesystem::exists(folder / files->front(), ignored)) return folder;
    }
  }
  return std::nullopt;
}

std::vector<std::string> class_names(const std::filesystem::path& folder, const Layout& layout) {
  const std::filesystem::path path = folder / layout.names_file;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    if (layout.format.classes != 10) return numbered_classes(layout.format.classes);
    return {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
  }
  std::vector<std::string> names = read_lines(path);
  check(static_cast<int>(names.size()) == layout.format.classes, ErrorKind::kData,
        "{}: {} class names, expected {}", path.string(), names.size(), layout.format.classes);
  return names;
}

}  // namespace

void parse_cifar(std::span<const std::byte> file, const CifarFormat& format, const std::string& name,
                 std::vector<uint8_t>& pixels, std::vector<int32_t>& labels) {
  const size_t label_bytes = static_cast<size_t>(format.label_bytes);
  const size_t record = label_bytes + 3 * kPlane;
  check(!file.empty() && file.size() % record == 0, ErrorKind::kData,
        "{}: {} bytes, expected a positive multiple of the record size {}", name, file.size(), record);
  const size_t count = file.size() / record;
  size_t out = pixels.size();
  pixels.resize(out + count * 3 * kPlane);
  for (size_t i = 0; i < count; ++i) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(file.data()) + i * record;
    const int32_t label = bytes[label_bytes - 1];
    check(label < format.classes, ErrorKind::kData, "{} record {}: label {} outside [0, {})", name, i, label,
          format.classes);
    labels.push_back(label);
    const uint8_t* red = bytes + label_bytes;
    for (size_t p = 0; p < kPlane; ++p, out += 3) {
      pixels[out] = red[p];
      pixels[out + 1] = red[p + kPlane];
      pixels[out + 2] = red[p + 2 * kPlane];
    }
  }
}

std::unique_ptr<Dataset> open_cifar(const std::filesystem::path& root, Split split) {
  for (const Layout& layout : layouts()) {
    const auto folder = find_folder(root, layout);
    if (!folder) continue;
    MemoryDataset::Contents contents;
    contents.shape = {32, 32, 3};
    for (const std::string& file : split == Split::kTrain ? layout.train : layout.test) {
      const std::filesystem::path path = *folder / file;
      contents.sources.push_back({static_cast<int64_t>(contents.labels.size()), path.string()});
      parse_cifar(read_file(path), layout.format, path.string(), contents.pixels, contents.labels);
    }
    contents.classes = class_names(*folder, layout);
    return std::make_unique<MemoryDataset>(std::move(contents));
  }
  return nullptr;
}

}  // namespace residuum
