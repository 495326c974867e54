#include "engine/train/recipe_transform.h"

namespace residuum {

Transform train_transform(const DataRecipe& data) {
  switch (data.augment) {
    case Augment::kPadCropFlip:
      return PadCropFlip{static_cast<int>(data.pad), data.flip};
    case Augment::kRandomResizedCrop:
      return RandomResizedCrop{static_cast<int>(data.image_size),
                               data.min_scale,
                               data.max_scale,
                               data.min_ratio,
                               data.max_ratio,
                               data.flip};
    case Augment::kKeep:
      break;
  }
  return KeepImage{};
}

Transform eval_transform(const DataRecipe& data) {
  if (data.eval_resize == 0) return KeepImage{};
  const int64_t crop = data.eval_crop > 0 ? data.eval_crop : data.image_size;
  return ResizeCenterCrop{static_cast<int>(data.eval_resize), static_cast<int>(crop)};
}

}  // namespace residuum
