// Fills rows of a batch: sample order, reading, transform, masking. Stateless per epoch, so any thread may
// fill any row.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/data/loader.h"

namespace residuum {

/// A sample that was masked, and why.
struct BadSample {
  int64_t id = 0;
  std::string reason;
};

class BatchFiller {
 public:
  /// Throws as Loader's constructor.
  BatchFiller(const Dataset& dataset, const LoaderOptions& options);

  /// Fixes the order of samples; not to be called while rows are being filled.
  void start(uint64_t epoch);
  int64_t batches() const;
  int64_t local_batch() const { return options_.batch / (options_.whole_batches ? 1 : options_.world); }
  const ImageShape& image_shape() const { return shape_; }

  /// Sizes the buffers of `batch` for this rank's batch `index`.
  void prepare(Batch& batch, int64_t index) const;
  /// Fills rows [first, last) of a prepared batch; `scratch` is the thread's own image. Unreadable samples
  /// are appended to `bad` and masked. Touches nothing of `batch` but those rows.
  void fill(Batch& batch, int64_t first, int64_t last, Image& scratch, std::vector<BadSample>& bad) const;

 private:
  /// `window` null: the row is transformed; else it is the image itself and `window` what to show of it.
  bool read_row(int64_t id, Image& scratch, uint8_t* output, ImageWindow* window,
                std::vector<BadSample>& bad) const;

  const Dataset& dataset_;
  LoaderOptions options_;
  ImageShape shape_;
  uint64_t epoch_ = 0;
  std::vector<int64_t> order_;  // empty: the identity
};

}  // namespace residuum
