#include "bench/loading.h"

#include <algorithm>

namespace residuum::bench {

LoadingSpeed loading_speed(const Dataset& dataset, const LoaderOptions& options, int batches,
                           double (*now)()) {
  Loader loader(dataset, options);
  Batch batch;
  uint64_t epoch = 0;
  loader.start(epoch);
  const auto load = [&](int count) {
    for (int i = 0; i < count; ++i) {
      while (!loader.next(batch)) loader.start(++epoch);
    }
  };
  load(options.prefetch + 1);
  constexpr int kSamples = 10;
  // What lies ready at the beginning of a sample must not count for much.
  const int each = std::max(batches / kSamples, 2 * options.prefetch);
  std::vector<double> speeds;
  for (int done = 0; done < batches;) {
    const int count = std::min(each, batches - done);
    const double begin = now();
    load(count);
    speeds.push_back(static_cast<double>(count * loader.local_batch()) / (now() - begin));
    done += count;
  }
  return {statistics_of(speeds), loader.image_shape()};
}

Transform usual_transform(const Dataset& dataset) {
  constexpr int kPhotograph = 128;
  const auto shape = dataset.image_shape();
  if (!shape || shape->height >= kPhotograph) return RandomResizedCrop{};
  return PadCropFlip{};
}

}  // namespace residuum::bench
