// Labelled image data sets behind one interface, opened by what a folder holds. A data set is immutable after
// opening: every const function may be called from any number of threads at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/data/image.h"

namespace residuum {

enum class Split { kTrain, kTest };

/// "train" or "test".
std::string to_string(Split split);

class Dataset {
 public:
  virtual ~Dataset() = default;

  /// Number of samples, >= 1.
  virtual int64_t size() const = 0;
  /// Class names in label order.
  virtual const std::vector<std::string>& classes() const = 0;
  /// The label of sample `index`, in [0, classes().size()).
  virtual int32_t label(int64_t index) const = 0;
  /// Reads sample `index` into `image`, whose buffer is reused. Throws Error(kData or kIo) naming the sample.
  virtual void read(int64_t index, Image& image) const = 0;
  /// The shape of every image when it is known to be fixed.
  virtual std::optional<ImageShape> image_shape() const = 0;
  /// Where sample `index` comes from, for messages: a path, or a file and record number.
  virtual std::string describe(int64_t index) const = 0;

  /// Sample `index` as a new image. Errors as read().
  Image load(int64_t index) const {
    Image image;
    read(index, image);
    return image;
  }
};

struct OpenOptions {
  int channels = 3;      ///< of images decoded from files (ImageFolder): 3 or 1
  DecodeOptions decode;  ///< likewise
};

/// Opens the data set under `root`, its format detected by what is there:
///
/// * IDX (MNIST and its kin): {train,t10k}-images-idx3-ubyte[.gz] with -labels-idx1-ubyte[.gz]. Ten classes
/// "0".."9",
///   or the lines of classes.txt beside them.
/// * CIFAR-10 binary: data_batch_1.bin .. data_batch_5.bin, test_batch.bin, [batches.meta.txt], in `root` or
/// in its
///   cifar-10-batches-bin.
/// * CIFAR-100 binary: train.bin, test.bin, [fine_label_names.txt], fine labels, in `root` or in its
/// cifar-100-binary.
/// * ImageFolder: root/train/CLASS/..., root/{val,test}/CLASS/..., or a root that holds the class folders
/// itself (which
///   then serves as either split). Files in the order of torchvision: by folder, then by name.
///
/// The first three are held in memory; ImageFolder decodes on demand. Throws Error(kData) naming the file,
/// the value found and the value allowed.
std::unique_ptr<Dataset> open_dataset(const std::filesystem::path& root, Split split,
                                      const OpenOptions& options = {});

/// The samples `indices` of `dataset`, in that order. Throws Error(kConfig) for an index out of range or none
/// at all.
std::unique_ptr<Dataset> subset(std::shared_ptr<const Dataset> dataset, std::vector<int64_t> indices);

/// The samples [first, first + count) of `dataset`, e.g. CIFAR's 45,000 / 5,000 split. Errors as above.
std::unique_ptr<Dataset> subset(std::shared_ptr<const Dataset> dataset, int64_t first, int64_t count);

}  // namespace residuum
