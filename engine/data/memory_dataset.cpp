// The checks every in-memory data set passes: counts agree, labels lie in range.
#include "engine/data/memory_dataset.h"

#include <algorithm>
#include <utility>

#include "engine/core/check.h"

namespace residuum {

MemoryDataset::MemoryDataset(Contents contents) : contents_(std::move(contents)) {
  const Contents& c = contents_;
  const std::string name = c.sources.empty() ? "memory" : c.sources.front().file;
  check(c.shape.height > 0 && c.shape.width > 0 && c.shape.channels > 0, ErrorKind::kData,
        "{}: image shape {} has an empty extent", name, to_string(c.shape));
  check(!c.labels.empty(), ErrorKind::kData, "{}: data set has 0 samples, at least 1 needed", name);
  const int64_t images = static_cast<int64_t>(c.pixels.size()) / c.shape.bytes();
  check(images * c.shape.bytes() == static_cast<int64_t>(c.pixels.size()) && images == size(),
        ErrorKind::kData, "{}: {} bytes of images do not make {} images of {} bytes, one for each label",
        name, c.pixels.size(), size(), c.shape.bytes());
  for (int64_t i = 0; i < size(); ++i) {
    const int32_t value = label(i);
    check(value >= 0 && static_cast<size_t>(value) < c.classes.size(), ErrorKind::kData,
          "{}: label {} outside [0, {})", describe(i), value, c.classes.size());
  }
}

void MemoryDataset::read(int64_t index, Image& image) const {
  check(index >= 0 && index < size(), ErrorKind::kInternal, "sample {} outside [0, {})", index, size());
  image.reshape(contents_.shape);
  const auto first = contents_.pixels.begin() + index * contents_.shape.bytes();
  std::copy(first, first + contents_.shape.bytes(), image.pixels.begin());
}

std::string MemoryDataset::describe(int64_t index) const {
  if (contents_.sources.empty()) return fmt::format("memory record {}", index);
  const auto after =
      std::upper_bound(contents_.sources.begin(), contents_.sources.end(), index,
                       [](int64_t value, const Source& source) { return value < source.first; });
  const Source& source = after == contents_.sources.begin() ? *after : *std::prev(after);
  return fmt::format("{} record {}", source.file, index - source.first);
}

std::vector<std::string> numbered_classes(int count) {
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.push_back(std::to_string(i));
  return names;
}

}  // namespace residuum
