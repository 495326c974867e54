// A data set held in memory as one array: the small file formats are read into it, and tests build it from
// arrays.
#pragma once

#include <string>
#include <vector>

#include "engine/data/dataset.h"

namespace residuum {

class MemoryDataset final : public Dataset {
 public:
  /// The samples from `first` on, up to the next source, come from `file`.
  struct Source {
    int64_t first = 0;
    std::string file;
  };
  struct Contents {
    ImageShape shape;
    std::vector<uint8_t> pixels;  ///< [labels.size(), height, width, channels]
    std::vector<int32_t> labels;
    std::vector<std::string> classes;
    std::vector<Source> sources;  ///< ascending `first`, starting at 0; empty: "memory"
  };

  /// Throws Error(kData) for no samples, an image count that differs from the label count, or a label out of
  /// range.
  explicit MemoryDataset(Contents contents);

  int64_t size() const override { return static_cast<int64_t>(contents_.labels.size()); }
  const std::vector<std::string>& classes() const override { return contents_.classes; }
  int32_t label(int64_t index) const override { return contents_.labels.at(static_cast<size_t>(index)); }
  void read(int64_t index, Image& image) const override;
  std::optional<ImageShape> image_shape() const override { return contents_.shape; }
  std::string describe(int64_t index) const override;

 private:
  Contents contents_;
};

/// "0", "1", ... as class names where the files have none.
std::vector<std::string> numbered_classes(int count);

}  // namespace residuum
