#include "tools/data_source.h"

#include "engine/core/check.h"
#include "models/zoo.h"

namespace residuum {
namespace {

/// As torchvision evaluates: the short side is 256 for a crop of 224; small images are not cropped.
int64_t resize_for_crop(int64_t crop) {
  constexpr int64_t kCropped = 128;
  return crop >= kCropped ? crop * 8 / 7 : crop;
}

}  // namespace

OpenOptions open_options(const DataRecipe& data) {
  OpenOptions options;
  options.channels = data.mean.size() == 1 ? 1 : 3;
  options.decode.apply_orientation = data.apply_orientation;
  return options;
}

std::unique_ptr<Dataset> open_split(Recipe& recipe, Split split) {
  DataRecipe& data = recipe.data;
  check(!data.path.empty(), ErrorKind::kConfig, "data.path is empty: --data PATH or the recipe must name it");
  std::unique_ptr<Dataset> dataset = open_dataset(data.path, split, open_options(data));
  if (!dataset->image_shape() && data.eval_resize == 0) {
    data.eval_crop = model_defaults(recipe.model.name).image_size;
    data.eval_resize = resize_for_crop(data.eval_crop);
  }
  return dataset;
}

}  // namespace residuum
