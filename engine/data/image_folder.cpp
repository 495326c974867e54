// Listing of class folders. Sorted throughout, so that sample numbers do not depend on the file system.
#include "engine/data/image_folder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/check.h"
#include "engine/data/file.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxDepth = 16;  // of folders inside a class: a bound on loops of symbolic links

/// Pixels of 16-bit RGBA that are not compressed at all, and what stands around them.
int64_t largest_file(const DecodeOptions& decode) {
  constexpr int64_t kBytesPerPixel = 8, kAround = 1 << 20;
  return decode.max_pixels * kBytesPerPixel + kAround;
}

struct Sample {
  fs::path path;
  int32_t label;
};

class ImageFolder final : public Dataset {
 public:
  ImageFolder(std::vector<std::string> classes, std::vector<Sample> samples, const OpenOptions& options)
      : classes_(std::move(classes)), samples_(std::move(samples)), options_(options) {}

  int64_t size() const override { return static_cast<int64_t>(samples_.size()); }
  const std::vector<std::string>& classes() const override { return classes_; }
  int32_t label(int64_t index) const override { return at(index).label; }
  std::optional<ImageShape> image_shape() const override { return std::nullopt; }
  std::string describe(int64_t index) const override { return at(index).path.string(); }

  void read(int64_t index, Image& image) const override {
    const std::vector<std::byte> bytes = read_file(at(index).path, largest_file(options_.decode));
    try {
      image = decode_image(bytes, options_.channels, options_.decode);
    } catch (const Error& error) {
      fail(error.kind(), "{}: {}", describe(index), error.what());
    }
  }

 private:
  const Sample& at(int64_t index) const { return samples_.at(static_cast<size_t>(index)); }

  std::vector<std::string> classes_;
  std::vector<Sample> samples_;
  OpenOptions options_;
};

bool hidden(const fs::path& path) {
  return path.filename().string().starts_with('.');
}

/// True for a decodable file; throws for an image type without a decoder.
bool is_image(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::array<std::string_view, 3> kDecoded{".jpg", ".jpeg", ".png"};
  constexpr std::array<std::string_view, 7> kOther{".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"};
  check(std::find(kOther.begin(), kOther.end(), extension) == kOther.end(), ErrorKind::kData,
        "{}: image type {} is not supported, expected .jpg, .jpeg or .png", path.string(), extension);
  return std::find(kDecoded.begin(), kDecoded.end(), extension) != kDecoded.end();
}

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!hidden(entry.path())) entries.push_back(entry.path());
  }
  std::sort(entries.begin(), entries.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  return entries;
}

std::vector<fs::path> sub_folders(const fs::path& folder) {
  std::vector<fs::path> entries = sorted_entries(folder);
  std::erase_if(entries, [](const fs::path& path) { return !fs::is_directory(path); });
  return entries;
}

/// Images of a folder and of all folders below it, a folder's own files first, both sorted.
void list_images(const fs::path& folder, int32_t label, int depth, std::vector<Sample>& samples) {
  check(depth <= kMaxDepth, ErrorKind::kData, "{}: folders nested deeper than {}", folder.string(),
        kMaxDepth);
  std::vector<fs::path> below;
  for (fs::path& path : sorted_entries(folder)) {
    if (fs::is_directory(path)) {
      below.push_back(std::move(path));
    } else if (is_image(path)) {
      samples.push_back({std::move(path), label});
    }
  }
  for (const fs::path& path : below) list_images(path, label, depth + 1, samples);
}

bool has_images(const fs::path& folder) {
  std::vector<Sample> samples;
  list_images(folder, 0, 0, samples);
  return !samples.empty();
}

/// The folder that holds the class folders of `split`, or an empty path if `root` is no ImageFolder.
fs::path split_folder(const fs::path& root, Split split) {
  const bool train = fs::is_directory(root / "train");
  const bool val = fs::is_directory(root / "val"), test = fs::is_directory(root / "test");
  if (train || val || test) {
    if (split == Split::kTrain && train) return root / "train";
    if (split == Split::kTest && val) return root / "val";
    if (split == Split::kTest && test) return root / "test";
    fail(ErrorKind::kData, "{}: no folder for the {} split, expected {}", root.string(), to_string(split),
         split == Split::kTrain ? "train" : "val or test");
  }
  const std::vector<fs::path> folders = sub_folders(root);
  return std::any_of(folders.begin(), folders.end(), has_images) ? root : fs::path{};
}

/// "a, b, c", cut after some names.
std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 10;
  const auto end = names.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, names.size()));
  return fmt::format("{}{}", fmt::join(names.begin(), end, ", "), names.size() > kShown ? ", ..." : "");
}

std::vector<std::string> names_of(const std::vector<fs::path>& folders) {
  std::vector<std::string> names;
  for (const fs::path& folder : folders) names.push_back(folder.filename().string());
  return names;
}

/// What the labels of the split in `folder` number: the class folders of train, where that is there, so that
/// a class has one label in both splits.
std::vector<std::string> class_names(const fs::path& root, const fs::path& folder) {
  const fs::path train = root / "train";
  return names_of(sub_folders(folder != root && fs::is_directory(train) ? train : folder));
}

/// The label of a class folder.
int32_t label_of(const fs::path& class_folder, const std::vector<std::string>& classes) {
  const auto found = std::lower_bound(classes.begin(), classes.end(), class_folder.filename().string());
  check(found != classes.end() && *found == class_folder.filename(), ErrorKind::kData,
        "{}: the training split has no class of this name, its {} classes are {}", class_folder.string(),
        classes.size(), listed(classes));
  return static_cast<int32_t>(found - classes.begin());
}

}  // namespace

std::unique_ptr<Dataset> open_image_folder(const fs::path& root, Split split, const OpenOptions& options) {
  check(options.channels == 1 || options.channels == 3, ErrorKind::kConfig,
        "channels is {}, allowed are 1 and 3", options.channels);
  try {
    const fs::path folder = split_folder(root, split);
    if (folder.empty()) return nullptr;
    std::vector<std::string> classes = class_names(root, folder);
    std::vector<Sample> samples;
    for (const fs::path& class_folder : sub_folders(folder)) {
      const size_t before = samples.size();
      list_images(class_folder, label_of(class_folder, classes), 0, samples);
      check(samples.size() > before, ErrorKind::kData, "{}: class folder has 0 images, at least 1 needed",
            class_folder.string());
    }
    check(!samples.empty(), ErrorKind::kData, "{}: 0 class folders, at least 1 needed", folder.string());
    return std::make_unique<ImageFolder>(std::move(classes), std::move(samples), options);
  } catch (const fs::filesystem_error& error) {
    fail(ErrorKind::kIo, "{}: cannot list the data folder: {}", root.string(), error.what());
  }
}

}  // namespace residuum
