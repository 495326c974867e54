// The loader: every sample once, the same batches for any threads, ranks and resume point, masked samples, no
// hangs.
#include "engine/data/loader.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <numeric>
#include <set>
#include <utility>

#include "engine/data/memory_dataset.h"
#include "engine/data/shuffle.h"
#include "tests/support/data_fixtures.h"

namespace residuum {
namespace {

using namespace fixtures;

constexpr ImageShape kShape{6, 5, 3};

MemoryDataset make_dataset(int count) {
  MemoryDataset::Contents contents;
  contents.shape = kShape;
  contents.pixels = generated_bytes(21, static_cast<size_t>(count) * static_cast<size_t>(kShape.bytes()));
  for (int i = 0; i < count; ++i) contents.labels.push_back(i % 7);
  contents.classes = numbered_classes(7);
  return MemoryDataset(std::move(contents));
}

/// A data set whose every read() ends in a hook, which may throw or change the image.
class Tampered final : public Dataset {
 public:
  using Hook = std::function<void(int64_t index, Image& image)>;
  Tampered(int count, Hook after, bool fixed_shape = true)
      : inner_(make_dataset(count)), after_(std::move(after)), fixed_shape_(fixed_shape) {}
  int64_t size() const override { return inner_.size(); }
  const std::vector<std::string>& classes() const override { return inner_.classes(); }
  int32_t label(int64_t index) const override { return inner_.label(index); }
  void read(int64_t index, Image& image) const override {
    inner_.read(index, image);
    after_(index, image);
  }
  std::optional<ImageShape> image_shape() const override {
    return fixed_shape_ ? inner_.image_shape() : std::nullopt;
  }
  std::string describe(int64_t index) const override { return inner_.describe(index); }

 private:
  MemoryDataset inner_;
  Hook after_;
  bool fixed_shape_;
};

LoaderOptions options(int64_t batch, int threads = 0) {
  LoaderOptions o;
  o.batch = batch;
  o.transform = PadCropFlip{2, true};
  o.seed = 5;
  o.threads = threads;
  return o;
}

bool same(const Batch& a, const Batch& b) {
  return a.images == b.images && a.labels == b.labels && a.ids == b.ids && a.windows == b.windows &&
         a.valid == b.valid && a.index == b.index;
}

std::vector<Batch> batches_of(const Dataset& dataset, const LoaderOptions& o, uint64_t epoch = 0,
                              int64_t first = 0) {
  Loader loader(dataset, o);
  loader.start(epoch, first);
  std::vector<Batch> all;
  for (Batch batch; loader.next(batch);) all.push_back(batch);
  return all;
}

void expect_same(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(same(a[i], b[i])) << "batch " << i;
}

TEST(Shuffle, IsFisherYatesOfPhilox) {
  const std::vector<int64_t> order = shuffled_order(1000, 9, 4);
  std::vector<int64_t> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  for (uint32_t i = 999; i >= 1; --i) {
    RandomStream random(9, RandomPurpose::kShuffle, 4, i);
    std::swap(expected[i], expected[random.uniform_below(i + 1)]);
  }
  EXPECT_EQ(order, expected);
  EXPECT_NE(order, shuffled_order(1000, 9, 5));
  EXPECT_NE(order, shuffled_order(1000, 10, 4));
  std::vector<int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(sorted, expected);
  EXPECT_TRUE(shuffled_order(0, 1, 1).empty());
}

TEST(Loader, EverySampleOnceAndTransformedByItsOwnStream) {
  const MemoryDataset dataset = make_dataset(103);
  LoaderOptions o = options(10);
  o.drop_last = false;
  const std::vector<Batch> batches = batches_of(dataset, o, 2);
  ASSERT_EQ(batches.size(), 11u);
  std::vector<int64_t> ids;
  for (size_t b = 0; b < batches.size(); ++b) {
    EXPECT_EQ(batches[b].index, static_cast<int64_t>(b));
    for (size_t row = 0; row < static_cast<size_t>(batches[b].valid); ++row) {
      const int64_t id = batches[b].ids[row];
      ids.push_back(id);
      EXPECT_EQ(batches[b].labels[row], dataset.label(id));
      RandomStream random(5, RandomPurpose::kAugment, 2, static_cast<uint64_t>(id));
      const Image expected = apply(o.transform, dataset.load(id), random);
      EXPECT_TRUE(std::equal(expected.pixels.begin(), expected.pixels.end(),
                             batches[b].images.begin() + static_cast<int64_t>(row) * kShape.bytes()));
    }
  }
  EXPECT_EQ(ids, shuffled_order(103, 5, 2));
}

TEST(Loader, WindowsShowWhatTheTransformWouldHave) {
  const MemoryDataset dataset = make_dataset(23);
  LoaderOptions o = options(10, 2);
  o.drop_last = false;
  const std::vector<Batch> transformed = batches_of(dataset, o, 3);
  o.windows_only = true;
  const std::vector<Batch> batches = batches_of(dataset, o, 3);
  ASSERT_EQ(batches.size(), transformed.size());
  for (size_t b = 0; b < batches.size(); ++b) {
    ASSERT_EQ(batches[b].windows.size(), 10u);
    EXPECT_TRUE(transformed[b].windows.empty());
    EXPECT_EQ(batches[b].ids, transformed[b].ids);
    size_t pixel = 0;
    for (size_t row = 0; row < 10; ++row) {
      const uint8_t* const image = batches[b].images.data() + static_cast<int64_t>(row) * kShape.bytes();
      const ImageWindow window = batches[b].windows[row];
      for (int y = 0; y < kShape.height; ++y) {
        for (int x = 0; x < kShape.width; ++x) {
          const int from_y = y + window.top;
          const int from_x = (window.flip != 0 ? kShape.width - 1 - x : x) + window.left;
          const bool inside = from_y >= 0 && from_y < kShape.height && from_x >= 0 && from_x < kShape.width;
          for (int c = 0; c < kShape.channels; ++c) {
            const int expected = inside ? image[(from_y * kShape.width + from_x) * kShape.channels + c] : 0;
            ASSERT_EQ(transformed[b].images[pixel++], expected) << "row " << row << " at " << y << ", " << x;
          }
        }
      }
    }
  }
}

TEST(Loader, TailIsPaddedOrDropped) {
  const MemoryDataset dataset = make_dataset(23);
  LoaderOptions o = options(10);
  EXPECT_EQ(batches_of(dataset, o).size(), 2u);
  o.drop_last = false;
  const std::vector<Batch> batches = batches_of(dataset, o);
  ASSERT_EQ(batches.size(), 3u);
  const Batch& tail = batches.back();
  EXPECT_EQ(tail.valid, 3);
  EXPECT_EQ(std::count(tail.labels.begin(), tail.labels.end(), -1), 7);
  EXPECT_EQ(std::count(tail.ids.begin(), tail.ids.end(), -1), 7);
  EXPECT_TRUE(std::all_of(tail.images.begin() + 3 * kShape.bytes(), tail.images.end(),
                          [](uint8_t v) { return v == 0; }));
  o.batch = 64;  // larger than the data set
  EXPECT_EQ(batches_of(dataset, o).at(0).valid, 23);
}

TEST(Loader, WithoutShuffleKeepsTheOrder) {
  const MemoryDataset dataset = make_dataset(12);
  LoaderOptions o = options(4);
  o.shuffle = false;
  o.transform = KeepImage{};
  const std::vector<Batch> batches = batches_of(dataset, o, 3);
  ASSERT_EQ(batches.size(), 3u);
  EXPECT_EQ(batches[1].ids, (std::vector<int64_t>{4, 5, 6, 7}));
  EXPECT_TRUE(std::equal(batches[2].images.end() - kShape.bytes(), batches[2].images.end(),
                         dataset.load(11).pixels.begin()));
}

TEST(Loader, SameBatchesForAnyThreadsAndPrefetch) {
  const MemoryDataset dataset = make_dataset(301);
  LoaderOptions o = options(16);
  o.drop_last = false;
  const std::vector<Batch> expected = batches_of(dataset, o, 1);
  for (const int threads : {1, 2, 5, 20}) {
    for (const int prefetch : {1, 3, 40}) {
      o.threads = threads;
      o.prefetch = prefetch;
      SCOPED_TRACE(std::to_string(threads) + " threads, prefetch " + std::to_string(prefetch));
      expect_same(batches_of(dataset, o, 1), expected);
    }
  }
}

TEST(Loader, ResumesInTheMiddleOfAnEpoch) {
  const MemoryDataset dataset = make_dataset(100);
  for (const int threads : {0, 3}) {
    const LoaderOptions o = options(8, threads);
    const std::vector<Batch> whole = batches_of(dataset, o, 6);
    for (size_t first = 0; first <= whole.size(); ++first) {
      const std::vector<Batch> rest = batches_of(dataset, o, 6, static_cast<int64_t>(first));
      expect_same(rest, {whole.begin() + static_cast<std::ptrdiff_t>(first), whole.end()});
    }
  }
}

TEST(Loader, StartsAgainWhileBatchesAreInWork) {
  const MemoryDataset dataset = make_dataset(200);
  const LoaderOptions o = options(8, 3);
  const std::vector<Batch> expected = batches_of(dataset, o, 50);
  Loader loader(dataset, o);
  Batch batch;
  for (uint64_t epoch = 0; epoch < 50; ++epoch) {
    loader.start(epoch, static_cast<int64_t>(epoch % 25));
    if (epoch % 3 != 0) {
      EXPECT_TRUE(loader.next(batch));
    }
  }
  loader.start(50);
  for (const Batch& wanted : expected) {
    ASSERT_TRUE(loader.next(batch));
    EXPECT_TRUE(same(batch, wanted));
  }
  EXPECT_FALSE(loader.next(batch));
  EXPECT_FALSE(loader.next(batch));
}

TEST(Loader, SlicesOfRanksMakeTheGlobalBatch) {
  const MemoryDataset dataset = make_dataset(50);
  LoaderOptions o = options(12);
  o.drop_last = false;
  const std::vector<Batch> global = batches_of(dataset, o, 3);
  for (const int world : {2, 3, 12}) {
    std::vector<std::vector<Batch>> ranks;
    for (int rank = 0; rank < world; ++rank) {
      o.rank = rank;
      o.world = world;
      ranks.push_back(batches_of(dataset, o, 3));
      ASSERT_EQ(ranks.back().size(), global.size());
    }
    for (size_t b = 0; b < global.size(); ++b) {
      Batch joined;
      for (const auto& rank : ranks) {
        const Batch& part = rank[b];
        EXPECT_EQ(part.index, global[b].index);
        joined.images.insert(joined.images.end(), part.images.begin(), part.images.end());
        joined.labels.insert(joined.labels.end(), part.labels.begin(), part.labels.end());
        joined.ids.insert(joined.ids.end(), part.ids.begin(), part.ids.end());
        joined.valid += part.valid;
      }
      joined.index = global[b].index;
      EXPECT_TRUE(same(joined, global[b])) << "batch " << b << " of " << world << " ranks";
    }
  }
}

TEST(Loader, WholeBatchesOfRanksAreTheGlobalOnesInTurn) {
  const MemoryDataset dataset = make_dataset(103);
  LoaderOptions o = options(10, 2);
  o.drop_last = false;
  const std::vector<Batch> global = batches_of(dataset, o);
  for (const int world : {1, 2, 4, 12}) {
    std::vector<Batch> joined(global.size());
    size_t found = 0;
    for (int rank = 0; rank < world; ++rank) {
      o.whole_batches = true;
      o.world = world;
      o.rank = rank;
      for (const Batch& batch : batches_of(dataset, o)) {
        ++found;
        joined.at(static_cast<size_t>(batch.index)) = batch;
      }
    }
    EXPECT_EQ(found, global.size()) << world << " ranks";
    expect_same(joined, global);
  }
}

TEST(Loader, BuffersAreRecycled) {
  const MemoryDataset dataset = make_dataset(400);
  LoaderOptions o = options(4, 2);
  o.prefetch = 3;
  Loader loader(dataset, o);
  std::set<const uint8_t*> buffers;
  Batch batch;
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    loader.start(epoch);
    while (loader.next(batch)) buffers.insert(batch.images.data());
  }
  EXPECT_LE(buffers.size(), 4u);  // prefetch, and the caller's
}

Tampered::Hook unreadable(std::set<int64_t> ids, ErrorKind kind) {
  return [ids = std::move(ids), kind](int64_t index, Image&) {
    if (ids.contains(index)) fail(kind, "sample {} is broken", index);
  };
}

TEST(Loader, UnreadableSamplesAreMaskedAndCountedOnce) {
  for (const ErrorKind kind : {ErrorKind::kData, ErrorKind::kIo}) {
    const Tampered dataset(40, unreadable({3, 17, 30}, kind));
    std::vector<Batch> first;
    for (const int threads : {0, 1, 4}) {
      LoaderOptions o = options(8, threads);
      o.bad_sample_limit = 3;
      Loader loader(dataset, o);
      std::vector<Batch> all;
      for (uint64_t epoch = 0; epoch < 2; ++epoch) {
        loader.start(epoch);
        for (Batch batch; loader.next(batch);) all.push_back(batch);
      }
      EXPECT_EQ(loader.bad_samples(), 3);
      int64_t masked = 0;
      for (const Batch& batch : all) {
        for (size_t row = 0; row < batch.ids.size(); ++row) {
          const bool bad = batch.ids[row] == 3 || batch.ids[row] == 17 || batch.ids[row] == 30;
          EXPECT_EQ(batch.labels[row] == -1, bad);
          const auto pixels = batch.images.begin() + static_cast<int64_t>(row) * kShape.bytes();
          if (bad) {
            EXPECT_TRUE(std::all_of(pixels, pixels + kShape.bytes(), [](uint8_t v) { return v == 0; }));
          }
          masked += bad;
        }
        EXPECT_EQ(batch.valid, 8 - std::count(batch.labels.begin(), batch.labels.end(), -1));
      }
      EXPECT_EQ(masked, 6);
      if (first.empty()) first = all;
      expect_same(all, first);
    }
  }
}

TEST(Loader, MoreBadSamplesThanAllowedStopAtTheSamePlace) {
  const Tampered dataset(64, unreadable({1, 20, 40, 60}, ErrorKind::kData));
  std::set<int64_t> served;
  for (const int threads : {0, 1, 6}) {
    LoaderOptions o = options(4, threads);
    o.bad_sample_limit = 2;
    Loader loader(dataset, o);
    loader.start(0);
    int64_t count = 0;
    Batch batch;
    expect_error(ErrorKind::kData, {"is broken", "unreadable sample 3", "limit is 2"}, [&] {
      while (loader.next(batch)) ++count;
    });
    expect_error(ErrorKind::kData, {"limit is 2"}, [&] { loader.next(batch); });  // and again
    served.insert(count);
  }
  EXPECT_EQ(served.size(), 1u);
}

TEST(Loader, OtherErrorsOfWorkersReachTheCaller) {
  const Tampered dataset(64, unreadable({40}, ErrorKind::kInternal));
  for (const int threads : {0, 3}) {
    Loader loader(dataset, options(4, threads));
    loader.start(0);
    Batch batch;
    int64_t count = 0;
    expect_error(ErrorKind::kInternal, {"sample 40 is broken"}, [&] {
      while (loader.next(batch)) ++count;
    });
    expect_error(ErrorKind::kInternal, {"sample 40 is broken"}, [&] { loader.next(batch); });
    EXPECT_LT(count, 16);
    loader.start(1, 16);  // a new start clears it
    EXPECT_FALSE(loader.next(batch));
  }
}

TEST(Loader, SizeComesFromTheFirstReadableImageAndOthersAreMasked) {
  const auto hook = [](int64_t index, Image& image) {
    if (index == 0) fail(ErrorKind::kData, "sample 0 is broken");
    if (index == 5) image.reshape({7, 5, 3});
  };
  const Tampered dataset(16, hook, false);
  Loader loader(dataset, options(16));
  EXPECT_EQ(loader.image_shape(), kShape);
  loader.start(0);
  Batch batch;
  ASSERT_TRUE(loader.next(batch));
  EXPECT_EQ(batch.valid, 14);
  EXPECT_EQ(loader.bad_samples(), 2);

  LoaderOptions strict = options(16);
  strict.bad_sample_limit = 0;
  expect_error(ErrorKind::kData, {"sample 0 is broken"}, [&] { Loader{dataset, strict}; });

  LoaderOptions resized = options(16);
  resized.transform = ResizeCenterCrop{8, 8};
  Loader resizing(dataset, resized);
  EXPECT_EQ(resizing.image_shape(), (ImageShape{8, 8, 3}));
  resizing.start(0);
  ASSERT_TRUE(resizing.next(batch));
  EXPECT_EQ(batch.valid, 15);  // the odd size is no matter
}

TEST(Loader, DestructionInTheMiddleNeverHangs) {
  const MemoryDataset dataset = make_dataset(64);
  for (int i = 0; i < 200; ++i) {
    Loader loader(dataset, options(4, 1 + i % 4));
    if (i % 5 == 0) continue;  // never started
    loader.start(static_cast<uint64_t>(i));
    Batch batch;
    for (int n = 0; n < i % 7; ++n) EXPECT_TRUE(loader.next(batch));
  }
}

TEST(Loader, CountsTheTimeOfWaiting) {
  const MemoryDataset dataset = make_dataset(64);
  Loader loader(dataset, options(32));
  loader.start(0);
  EXPECT_EQ(loader.wait_seconds(), 0);
  Batch batch;
  ASSERT_TRUE(loader.next(batch));
  const double first = loader.wait_seconds();
  EXPECT_GT(first, 0);
  ASSERT_TRUE(loader.next(batch));
  EXPECT_GT(loader.wait_seconds(), first);
}

TEST(Loader, RefusesOptionsOutOfRange) {
  const MemoryDataset dataset = make_dataset(20);
  const auto refuse = [&](const std::function<void(LoaderOptions&)>& change,
                          const std::vector<std::string>& parts) {
    LoaderOptions o = options(4);
    change(o);
    expect_error(ErrorKind::kConfig, parts, [&] { Loader{dataset, o}; });
  };
  refuse([](auto& o) { o.batch = 0; }, {"batch is 0"});
  refuse([](auto& o) { o.world = 3; }, {"batch is 4", "3 ranks"});
  refuse([](auto& o) { o.rank = 1; }, {"rank 1 of 1"});
  refuse([](auto& o) { o.batch = 21; }, {"batch is 21", "20 samples"});
  refuse([](auto& o) { o.threads = -1; }, {"threads is -1"});
  refuse([](auto& o) { o.prefetch = 0; }, {"prefetch is 0"});
  refuse([](auto& o) { o.bad_sample_limit = -1; }, {"bad_sample_limit is -1"});
  refuse([](auto& o) { o.transform = PadCropFlip{-1}; }, {"pad_crop_flip.pad"});
  refuse([](auto& o) { o.transform = KeepImage{}, o.windows_only = true; },
         {"windows_only", "pad_crop_flip"});
  Loader loader(dataset, options(4));
  Batch batch;
  expect_error(ErrorKind::kInternal, {"before start"}, [&] { loader.next(batch); });
  expect_error(ErrorKind::kConfig, {"first batch is 6", "0 to 5"}, [&] { loader.start(0, 6); });
}

}  // namespace
}  // namespace residuum
