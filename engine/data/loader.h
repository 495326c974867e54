// Batches of transformed images, prefetched by worker threads. What a batch holds is a function of (data set,
// options, epoch, batch number) alone: not of threads, timing, or where in the epoch loading began.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/data/transform.h"

namespace residuum {

struct LoaderOptions {
  int64_t batch = 128;  ///< global: over all ranks; a multiple of `world` unless batches are whole
  Transform transform;
  bool windows_only = false;  ///< images as they are, and in Batch::windows what a PadCropFlip would show
  uint64_t seed = 0;
  bool shuffle = true;    ///< else in the order of the data set
  int threads = 0;        ///< workers; 0 loads in the thread that calls next()
  int prefetch = 4;       ///< batches prepared ahead, >= 1
  bool drop_last = true;  ///< else the last batch is padded
  int rank = 0,
      world = 1;  ///< this rank receives rows [rank, rank + 1) * batch / world of each global batch,
  bool whole_batches = false;      ///< or, with this, batches rank, rank + world, ... whole
  int64_t bad_sample_limit = 100;  ///< different unreadable samples tolerated by one loader
};

/// This rank's rows of one global batch. A row without a sample (padding of the last batch, or an unreadable
/// sample) has a zero image and label -1; a padding row also has id -1, an unreadable sample keeps its id.
struct Batch {
  std::vector<uint8_t> images;  ///< [batch / world, height, width, channels]
  std::vector<int32_t> labels;
  std::vector<ImageWindow> windows;  ///< one a row with LoaderOptions::windows_only, else empty
  std::vector<int64_t> ids;          ///< sample numbers in the data set
  int64_t valid = 0;                 ///< rows with a label >= 0
  int64_t index = 0;                 ///< number of the global batch in its epoch
};

/// One consumer: start() and next() are called from one thread at a time.
class Loader {
 public:
  /// Starts the workers. `dataset` must outlive the loader. Where neither transform nor data set fix the
  /// image size, the first readable image does. Throws Error(kConfig) for options out of range, kData if no
  /// such image is found.
  Loader(const Dataset& dataset, const LoaderOptions& options);
  /// Stops and joins the workers, also in the middle of an epoch.
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Begins `epoch` at global batch `first_batch` (0 .. batches()); what was prefetched is dropped.
  void start(uint64_t epoch, int64_t first_batch = 0);

  /// Swaps the next batch into `batch`, whose buffers are used again; false at the end of the epoch.
  ///
  /// A sample that cannot be read (Error kData or kIo, or another size than the fixed one) is logged once and
  /// masked as Batch says; the one past bad_sample_limit is thrown as Error(kData). Any other exception of a
  /// worker is thrown here, when its batch is due. After a throw every further call throws the same until
  /// start().
  bool next(Batch& batch);

  /// Batches of this rank in an epoch: without whole_batches the same on every rank.
  int64_t batches() const;
  /// Rows of a batch on this rank.
  int64_t local_batch() const;
  /// The shape of every image.
  ImageShape image_shape() const;
  /// Different unreadable samples met so far.
  int64_t bad_samples() const;
  /// Seconds that next() has waited for data since construction.
  double wait_seconds() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace residuum
