// How fast images are read, decoded and augmented, without a model: the loader alone.
#pragma once

#include "bench/statistics.h"
#include "engine/data/loader.h"

namespace residuum::bench {

struct LoadingSpeed {
  Statistics images_per_second;  ///< over runs of batches
  ImageShape shape;              ///< of the result
};

/// Loads `batches` batches, epoch after epoch, after those that were prefetched at the start; a sample is a
/// tenth of them, and at least twice what is prefetched. `now` is the clock, in seconds.
LoadingSpeed loading_speed(const Dataset& dataset, const LoaderOptions& options, int batches,
                           double (*now)());

/// What training would do to images of a data set: random crops to 224x224 of those whose size varies or is
/// that of photographs, windows of small ones.
Transform usual_transform(const Dataset& dataset);

}  // namespace residuum::bench
