// The contents of a batch. Augmentation of a sample draws from its own stream (seed, kAugment, epoch, id).
#include "engine/data/batch_filler.h"

#include <algorithm>

#include "engine/core/check.h"
#include "engine/core/random.h"
#include "engine/data/shuffle.h"

namespace residuum {
namespace {

void validate(const LoaderOptions& o, int64_t samples) {
  check(o.world >= 1 && o.rank >= 0 && o.rank < o.world, ErrorKind::kConfig, "loader: rank {} of {} ranks",
        o.rank, o.world);
  check(o.batch >= 1 && (o.whole_batches || o.batch % o.world == 0), ErrorKind::kConfig,
        "loader: batch is {}, allowed are positive multiples of the {} ranks", o.batch, o.world);
  check(!o.drop_last || o.batch <= samples, ErrorKind::kConfig,
        "loader: batch is {}, the data set has {} samples: no batch is ever full", o.batch, samples);
  check(o.threads >= 0 && o.threads <= 1024, ErrorKind::kConfig,
        "loader: threads is {}, allowed are 0 to 1024", o.threads);
  check(o.prefetch >= 1 && o.prefetch <= 1024, ErrorKind::kConfig,
        "loader: prefetch is {}, allowed are 1 to 1024", o.prefetch);
  check(o.bad_sample_limit >= 0, ErrorKind::kConfig,
        "loader: bad_sample_limit is {}, allowed are 0 and above", o.bad_sample_limit);
  residuum::validate(o.transform);
  check(!o.windows_only || std::holds_alternative<PadCropFlip>(o.transform), ErrorKind::kConfig,
        "loader: windows_only needs the transform pad_crop_flip");
}

/// The shape of the data set's images: its fixed one, or that of the first image that can be read.
ImageShape input_shape(const Dataset& dataset, int64_t bad_sample_limit) {
  if (const auto fixed = dataset.image_shape()) return *fixed;
  for (int64_t i = 0;; ++i) {
    try {
      return dataset.load(i).shape();
    } catch (const Error&) {
      if (i >= bad_sample_limit || i + 1 >= dataset.size()) throw;
    }
  }
}

}  // namespace

BatchFiller::BatchFiller(const Dataset& dataset, const LoaderOptions& options)
    : dataset_(dataset), options_(options) {
  validate(options_, dataset_.size());
  shape_ = output_shape(options_.transform, input_shape(dataset_, options_.bad_sample_limit));
}

void BatchFiller::start(uint64_t epoch) {
  epoch_ = epoch;
  if (options_.shuffle) order_ = shuffled_order(dataset_.size(), options_.seed, epoch);
}

int64_t BatchFiller::batches() const {
  const int64_t full = dataset_.size() / options_.batch;
  const bool tail = !options_.drop_last && dataset_.size() % options_.batch != 0;
  const int64_t all = full + (tail ? 1 : 0);
  return options_.whole_batches ? (all - options_.rank + options_.world - 1) / options_.world : all;
}

void BatchFiller::prepare(Batch& batch, int64_t index) const {
  const size_t rows = static_cast<size_t>(local_batch());
  batch.images.resize(rows * static_cast<size_t>(shape_.bytes()));
  batch.labels.resize(rows);
  batch.ids.resize(rows);
  batch.windows.assign(options_.windows_only ? rows : 0, {});
  batch.valid = 0;
  batch.index = options_.whole_batches ? index * options_.world + options_.rank : index;
}

void BatchFiller::fill(Batch& batch, int64_t first, int64_t last, Image& scratch,
                       std::vector<BadSample>& bad) const {
  for (int64_t row = first; row < last; ++row) {
    const int64_t first_row = options_.whole_batches ? 0 : options_.rank * local_batch();
    const int64_t position = batch.index * options_.batch + first_row + row;
    uint8_t* output = batch.images.data() + row * shape_.bytes();
    ImageWindow* const window = options_.windows_only ? &batch.windows[static_cast<size_t>(row)] : nullptr;
    int64_t id = -1;
    int32_t label = -1;
    if (position < dataset_.size()) {
      id = order_.empty() ? position : order_[static_cast<size_t>(position)];
      if (read_row(id, scratch, output, window, bad)) label = dataset_.label(id);
    }
    if (label < 0) std::fill_n(output, shape_.bytes(), uint8_t{0});
    batch.labels[static_cast<size_t>(row)] = label;
    batch.ids[static_cast<size_t>(row)] = id;
  }
}

bool BatchFiller::read_row(int64_t id, Image& scratch, uint8_t* output, ImageWindow* window,
                           std::vector<BadSample>& bad) const {
  try {
    dataset_.read(id, scratch);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kData && error.kind() != ErrorKind::kIo) throw;
    bad.push_back({id, error.what()});
    return false;
  }
  const ImageShape found = output_shape(options_.transform, scratch.shape());
  if (found != shape_) {
    bad.push_back({id, fmt::format("{}: image of {}, every image must be {} without a resizing transform",
                                   dataset_.describe(id), to_string(found), to_string(shape_))});
    return false;
  }
  RandomStream random(options_.seed, RandomPurpose::kAugment, epoch_, static_cast<uint64_t>(id));
  if (window == nullptr) {
    apply(options_.transform, ImageView(scratch), random, output);
  } else {
    *window = draw_window(std::get<PadCropFlip>(options_.transform), random);
    apply(KeepImage{}, ImageView(scratch), random, output);
  }
  return true;
}

}  // namespace residuum
