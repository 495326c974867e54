// Detection of a data set's format, and subsets.
#include "engine/data/dataset.h"

#include <numeric>
#include <utility>

#include "engine/core/check.h"
#include "engine/data/cifar.h"
#include "engine/data/idx.h"
#include "engine/data/image_folder.h"

namespace residuum {
namespace {

class Subset final : public Dataset {
 public:
  Subset(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> indices)
      : dataset_(std::move(dataset)), indices_(std::move(indices)) {}

  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  const std::vector<std::string>& classes() const override { return dataset_->classes(); }
  int32_t label(int64_t index) const override { return dataset_->label(at(index)); }
  void read(int64_t index, Image& image) const override { dataset_->read(at(index), image); }
  std::optional<ImageShape> image_shape() const override { return dataset_->image_shape(); }
  std::string describe(int64_t index) const override { return dataset_->describe(at(index)); }

 private:
  int64_t at(int64_t index) const { return indices_.at(static_cast<size_t>(index)); }

  std::shared_ptr<const Dataset> dataset_;
  std::vector<int64_t> indices_;
};

}  // namespace

std::string to_string(Split split) {
  return split == Split::kTrain ? "train" : "test";
}

std::unique_ptr<Dataset> open_dataset(const std::filesystem::path& root, Split split,
                                      const OpenOptions& options) {
  std::error_code ignored;
  check(std::filesystem::is_directory(root, ignored), ErrorKind::kData, "{}: no such data folder",
        root.string());
  if (auto dataset = open_idx(root, split)) return dataset;
  if (auto dataset = open_cifar(root, split)) return dataset;
  if (auto dataset = open_image_folder(root, split, options)) return dataset;
  fail(ErrorKind::kData,
       "{}: no data set found; expected {{train,t10k}}-images-idx3-ubyte[.gz], data_batch_1.bin or "
       "test_batch.bin, "
       "train.bin or test.bin, or folders of images (train/CLASS, val/CLASS or CLASS)",
       root.string());
}

std::unique_ptr<Dataset> subset(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> indices) {
  check(!indices.empty(), ErrorKind::kConfig, "subset: no samples chosen of {}", dataset->size());
  for (const int64_t index : indices) {
    check(index >= 0 && index < dataset->size(), ErrorKind::kConfig, "subset: sample {} outside [0, {})",
          index, dataset->size());
  }
  return std::make_unique<Subset>(std::move(dataset), std::move(indices));
}

std::unique_ptr<Dataset> subset(std::shared_ptr<const Dataset> dataset, int64_t first, int64_t count) {
  check(first >= 0 && count >= 1 && first < dataset->size() && count <= dataset->size() - first,
        ErrorKind::kConfig, "subset: samples [{}, {} + {}) outside [0, {})", first, first, count,
        dataset->size());
  std::vector<int64_t> indices(static_cast<size_t>(count));
  std::iota(indices.begin(), indices.end(), first);
  return std::make_unique<Subset>(std::move(dataset), std::move(indices));
}

}  // namespace residuum
