// ImageFolder: one folder per class, JPEG or PNG files inside, decoded on demand. The listing is made once,
// at opening; labels are positions in the byte-wise sorted list of the training split's folder names, as in
// torchvision, which numbers the test split apart: there a class that it lacks shifts the labels of all later
// ones.
#pragma once

#include <filesystem>
#include <memory>

#include "engine/data/dataset.h"

namespace residuum {

/// Opens root/train or root/{val,test} by `split`, or `root` itself if it has none of the three but has
/// folders with images; null if there is nothing of the kind. Throws Error(kData) for a class without images,
/// a class of the test split that the training split lacks, a missing split, or a file of an image type that
/// cannot be decoded (.bmp, .webp, ...). Hidden files and other file types are ignored.
std::unique_ptr<Dataset> open_image_folder(const std::filesystem::path& root, Split split,
                                           const OpenOptions& options);

}  // namespace residuum
