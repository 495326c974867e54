#include "engine/lab/random_labels.h"

#include <utility>

#include "engine/core/random.h"

namespace residuum {
namespace {

class RandomLabels final : public Dataset {
 public:
  RandomLabels(std::shared_ptr<const Dataset> dataset, uint64_t seed)
      : dataset_(std::move(dataset)), seed_(seed) {}

  int64_t size() const override { return dataset_->size(); }
  const std::vector<std::string>& classes() const override { return dataset_->classes(); }
  int32_t label(int64_t index) const override {
    RandomStream random(seed_, RandomPurpose::kAnalysis, 0, static_cast<uint64_t>(index));
    return static_cast<int32_t>(random.uniform_below(static_cast<uint32_t>(classes().size())));
  }
  void read(int64_t index, Image& image) const override { dataset_->read(index, image); }
  std::optional<ImageShape> image_shape() const override { return dataset_->image_shape(); }
  std::string describe(int64_t index) const override { return dataset_->describe(index); }

 private:
  std::shared_ptr<const Dataset> dataset_;
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<Dataset> random_labels(std::shared_ptr<const Dataset> dataset, uint64_t seed) {
  return std::make_unique<RandomLabels>(std::move(dataset), seed);
}

}  // namespace residuum
