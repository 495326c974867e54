// Opening data sets: round trips of files written here, detection, every refusal, prefixes and flipped header
// bytes, and the real Fashion-MNIST where Debian's package has installed it.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "engine/data/cifar.h"
#include "engine/data/dataset.h"
#include "engine/data/file.h"
#include "engine/data/idx.h"
#include "engine/data/memory_dataset.h"
#include "tests/support/data_fixtures.h"
#include "tests/support/log_capture.h"

namespace residuum {
namespace {

using namespace fixtures;

constexpr const char* kFashionMnist = "/usr/share/datasets/fashion-mnist";

void write_idx_pair(const TemporaryFolder& folder, const std::string& prefix, const Bytes& labels,
                    bool compressed) {
  const std::string suffix = compressed ? ".gz" : "";
  const Bytes images = idx_images(static_cast<uint32_t>(labels.size()), 4, 5),
              label_file = idx_labels(labels);
  folder.write(prefix + "-images-idx3-ubyte" + suffix, compressed ? gzip(images) : images);
  folder.write(prefix + "-labels-idx1-ubyte" + suffix, compressed ? gzip(label_file) : label_file);
}

TEST(Idx, RoundTripPlainAndCompressed) {
  for (const bool compressed : {false, true}) {
    const TemporaryFolder folder;
    write_idx_pair(folder, "train", {3, 0, 9}, compressed);
    write_idx_pair(folder, "t10k", {7}, compressed);
    const auto dataset = open_dataset(folder.path(), Split::kTrain);
    ASSERT_EQ(dataset->size(), 3);
    EXPECT_EQ(dataset->classes(),
              (std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}));
    EXPECT_EQ(dataset->image_shape(), (ImageShape{4, 5, 1}));
    EXPECT_EQ(dataset->label(0), 3);
    EXPECT_EQ(dataset->label(2), 9);
    const Bytes pixels = generated_bytes(1, 60);
    EXPECT_EQ(dataset->load(1).pixels, Bytes(pixels.begin() + 20, pixels.begin() + 40));
    EXPECT_NE(dataset->describe(2).find("record 2"), std::string::npos);
    EXPECT_EQ(open_dataset(folder.path(), Split::kTest)->label(0), 7);
  }
}

TEST(Idx, ClassNamesFromFile) {
  const TemporaryFolder folder;
  write_idx_pair(folder, "train", {0, 2}, false);
  const std::string names = "T-shirt/top\nTrouser\r\nPullover\n\n";
  folder.write("classes.txt", Bytes(names.begin(), names.end()));
  EXPECT_EQ(open_dataset(folder.path(), Split::kTrain)->classes(),
            (std::vector<std::string>{"T-shirt/top", "Trouser", "Pullover"}));
}

TEST(Idx, RefusesWhatIsWrong) {
  const auto parse = [](const Bytes& bytes) { parse_idx_images(as_span(bytes), "images"); };
  const auto parse_labels = [](const Bytes& bytes) { parse_idx_labels(as_span(bytes), "labels"); };
  Bytes longer = idx_images(2, 3, 3);
  longer.push_back(0);
  expect_error(ErrorKind::kData, {"images", "35 bytes", "says 34"}, [&] { parse(longer); });
  expect_error(ErrorKind::kData, {"labels", "0x803", "0x801"}, [&] { parse_labels(idx_images(2, 3, 3)); });
  expect_error(ErrorKind::kData, {"extent 0", "is 0"}, [&] { parse(idx_images(0, 3, 3)); });
  expect_error(ErrorKind::kData, {"extent 2", "is 0", "16384"}, [&] { parse(idx_images(2, 3, 0)); });

  Bytes huge;  // 2^31 - 1 images of 16,384 x 16,384 in a file of 16 bytes
  for (const uint32_t value : {0x803u, 0x7FFFFFFFu, 16384u, 16384u}) append_big_endian(huge, value);
  expect_error(ErrorKind::kData, {"576460752034988048 bytes", "8589934592"}, [&] { parse(huge); });
  expect_error(ErrorKind::kData, {"576460752034988048 bytes", "8589934592"}, [&] { parse(gzip(huge)); });

  Bytes bomb = idx_images(1, 2, 2);  // 10 MB behind a header that says 4 bytes
  bomb.resize(10'000'000);
  expect_error(ErrorKind::kData, {"images", "more than the 20 bytes"}, [&] { parse(gzip(bomb)); });

  Bytes two_ends = gzip(idx_images(2, 3, 3));
  two_ends.push_back('x');
  expect_error(ErrorKind::kData, {"images"}, [&] { parse(two_ends); });
  expect_error(ErrorKind::kData, {"bomb", "more than the 100 bytes"},
               [] { gunzip(as_span(gzip(Bytes(1 << 20))), 100, "bomb"); });
}

TEST(Idx, RefusesPairsThatDoNotFit) {
  TemporaryFolder folder;
  write_idx_pair(folder, "train", {1, 2, 3}, false);
  expect_error(ErrorKind::kData, {"t10k-images-idx3-ubyte", "missing"},
               [&] { open_dataset(folder.path(), Split::kTest); });
  folder.write("train-labels-idx1-ubyte", idx_labels({1, 2}));
  expect_error(ErrorKind::kData, {"3 images", "2 labels"},
               [&] { open_dataset(folder.path(), Split::kTrain); });
  folder.write("train-labels-idx1-ubyte", idx_labels({1, 2, 10}));
  expect_error(ErrorKind::kData, {"train-labels-idx1-ubyte record 2", "label 10", "[0, 10)"},
               [&] { open_dataset(folder.path(), Split::kTrain); });
  std::filesystem::remove(folder.path() / "train-labels-idx1-ubyte");
  expect_error(ErrorKind::kData, {"train-labels-idx1-ubyte", "missing"},
               [&] { open_dataset(folder.path(), Split::kTrain); });
}

TEST(Idx, EveryPrefixAndEveryFlippedByteOfTheHeaderIsAnError) {
  const Bytes plain = idx_images(2, 3, 3);
  for (const Bytes& file : {plain, gzip(plain)}) {
    for (size_t size = 0; size < file.size(); ++size) {
      const Bytes prefix(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
      expect_error(ErrorKind::kData, {"prefix"}, [&] { parse_idx_images(as_span(prefix), "prefix"); });
    }
  }
  for (size_t i = 0; i < 16; ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes flipped = plain;
      flipped[i] = static_cast<uint8_t>(flipped[i] ^ 1 << bit);
      expect_error(ErrorKind::kData, {"flipped"}, [&] { parse_idx_images(as_span(flipped), "flipped"); });
    }
  }
  // gzip: bytes 4 to 9 (time, flags, system) carry nothing; all others are covered by header checks or the
  // CRC.
  const Bytes compressed = gzip(plain);
  for (size_t i = 0; i < compressed.size(); ++i) {
    if (i >= 3 && i <= 9) continue;
    Bytes flipped = compressed;
    flipped[i] = static_cast<uint8_t>(flipped[i] ^ 0xFF);
    expect_error(ErrorKind::kData, {"flipped"}, [&] { parse_idx_images(as_span(flipped), "flipped"); });
  }
}

TEST(Idx, FashionMnist) {
  if (!std::filesystem::exists(kFashionMnist))
    GTEST_SKIP() << "Debian package dataset-fashion-mnist is not installed";
  const auto train = open_dataset(kFashionMnist, Split::kTrain);
  const auto test = open_dataset(kFashionMnist, Split::kTest);
  EXPECT_EQ(train->size(), 60000);
  EXPECT_EQ(test->size(), 10000);
  EXPECT_EQ(train->image_shape(), (ImageShape{28, 28, 1}));
  std::vector<int> counts(10);
  for (int64_t i = 0; i < train->size(); ++i) ++counts[static_cast<size_t>(train->label(i))];
  EXPECT_EQ(counts, std::vector<int>(10, 6000));
  EXPECT_EQ(train->label(0), 9);
  EXPECT_EQ(crc32_of(train->load(0).pixels), 4067475125u);
  EXPECT_EQ(crc32_of(train->load(59999).pixels), 1834570600u);
  EXPECT_EQ(crc32_of(test->load(1234).pixels), 1117137209u);
}

void write_cifar10(const TemporaryFolder& folder, const std::string& below) {
  for (int i = 1; i <= 5; ++i) {
    folder.write(below + "data_batch_" + std::to_string(i) + ".bin",
                 cifar_records(3, 1, 10, static_cast<uint32_t>(100 * i)));
  }
  folder.write(below + "test_batch.bin", cifar_records(2, 1, 10, 900));
}

TEST(Cifar, RoundTripInRootAndSubFolder) {
  for (const char* below : {"", "cifar-10-batches-bin/"}) {
    const TemporaryFolder folder;
    write_cifar10(folder, below);
    const auto dataset = open_dataset(folder.path(), Split::kTrain);
    ASSERT_EQ(dataset->size(), 15);
    EXPECT_EQ(dataset->image_shape(), (ImageShape{32, 32, 3}));
    EXPECT_EQ(dataset->classes()[9], "truck");
    EXPECT_EQ(dataset->label(5), 2);
    EXPECT_NE(dataset->describe(7).find("data_batch_3.bin record 1"), std::string::npos)
        << dataset->describe(7);
    const Bytes planes = generated_bytes(301, 3072);
    const Image image = dataset->load(7);
    for (size_t p : {size_t{0}, size_t{33}, size_t{1023}}) {
      for (size_t c = 0; c < 3; ++c) EXPECT_EQ(image.pixels[3 * p + c], planes[1024 * c + p]);
    }
    EXPECT_EQ(open_dataset(folder.path(), Split::kTest)->size(), 2);
  }
}

TEST(Cifar, ClassNamesFromFile) {
  const TemporaryFolder folder;
  write_cifar10(folder, "");
  const std::string ten = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n", nine = "a\nb\nc\nd\ne\nf\ng\nh\ni\n";
  folder.write("batches.meta.txt", Bytes(ten.begin(), ten.end()));
  EXPECT_EQ(open_dataset(folder.path(), Split::kTest)->classes()[9], "j");
  folder.write("batches.meta.txt", Bytes(nine.begin(), nine.end()));
  expect_error(ErrorKind::kData, {"batches.meta.txt", "9 class names", "expected 10"},
               [&] { open_dataset(folder.path(), Split::kTest); });
}

TEST(Cifar, RefusesWhatIsWrong) {
  const TemporaryFolder folder;
  write_cifar10(folder, "");
  std::filesystem::remove(folder.path() / "data_batch_4.bin");
  expect_error(ErrorKind::kData, {"data_batch_4.bin", "cannot open"},
               [&] { open_dataset(folder.path(), Split::kTrain); });
  Bytes records = cifar_records(3, 1, 10, 1);
  records[3073] = 10;
  folder.write("test_batch.bin", records);
  expect_error(ErrorKind::kData, {"test_batch.bin record 1", "label 10", "[0, 10)"},
               [&] { open_dataset(folder.path(), Split::kTest); });
  folder.write("test_batch.bin", {});
  expect_error(ErrorKind::kData, {"test_batch.bin", "0 bytes", "3073"},
               [&] { open_dataset(folder.path(), Split::kTest); });
}

TEST(Cifar, EveryPrefixThatCutsARecordIsAnError) {
  const Bytes file = cifar_records(2, 1, 10, 5);
  for (size_t size = 0; size < file.size(); ++size) {
    if (size == 3073) continue;
    const Bytes prefix(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    expect_error(ErrorKind::kData, {"prefix", "3073"}, [&] {
      std::vector<uint8_t> pixels;
      std::vector<int32_t> labels;
      parse_cifar(as_span(prefix), kCifar10, "prefix", pixels, labels);
    });
  }
}

TEST(Cifar, Cifar100UsesTheFineLabel) {
  const TemporaryFolder folder;
  Bytes records = cifar_records(2, 2, 100, 1);
  records[0] = 11;  // coarse
  records[1] = 77;
  folder.write("cifar-100-binary/train.bin", records);
  const auto dataset = open_dataset(folder.path(), Split::kTrain);
  EXPECT_EQ(dataset->classes().size(), 100u);
  EXPECT_EQ(dataset->label(0), 77);
  records[1] = 100;
  folder.write("cifar-100-binary/train.bin", records);
  expect_error(ErrorKind::kData, {"train.bin record 0", "label 100", "[0, 100)"},
               [&] { open_dataset(folder.path(), Split::kTrain); });
}

TEST(ImageFolder, ListsSortedAndDecodesByContent) {
  const TemporaryFolder folder;
  const Image picture = gradient(6, 9, 1);
  folder.write("train/b_dog/2.JPEG", encode_jpeg(picture));
  folder.write("train/b_dog/10.jpg", golden_image("rgb.png"));  // a PNG by content
  folder.write("train/b_dog/more/0.jpg", encode_jpeg(picture));
  folder.write("train/a_cat/x.png", golden_image("grey.png"));
  folder.write("train/a_cat/notes.txt", {'x'});
  folder.write("train/a_cat/._x.png", {'x'});
  folder.write("train/.cache/y.png", {'x'});
  folder.write("val/a_cat/v.jpg", encode_jpeg(picture));
  folder.write("val/b_dog/v.jpg", encode_jpeg(picture));
  const auto dataset = open_dataset(folder.path(), Split::kTrain);
  EXPECT_EQ(dataset->classes(), (std::vector<std::string>{"a_cat", "b_dog"}));
  ASSERT_EQ(dataset->size(), 4);
  EXPECT_EQ(dataset->image_shape(), std::nullopt);
  const std::vector<std::string> expected{"a_cat/x.png", "b_dog/10.jpg", "b_dog/2.JPEG", "b_dog/more/0.jpg"};
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(dataset->describe(i), (folder.path() / "train" / expected[static_cast<size_t>(i)]).string());
    EXPECT_EQ(dataset->label(i), i == 0 ? 0 : 1);
  }
  EXPECT_EQ(dataset->load(0).shape(), (ImageShape{29, 37, 3}));
  EXPECT_EQ(dataset->load(2).shape(), (ImageShape{6, 9, 3}));
  EXPECT_EQ(open_dataset(folder.path(), Split::kTest)->size(), 2);

  OpenOptions grey;
  grey.channels = 1;
  EXPECT_EQ(open_dataset(folder.path(), Split::kTrain, grey)->load(1).channels, 1);
}

TEST(ImageFolder, RootOfClassFoldersServesBothSplits) {
  const TemporaryFolder folder;
  folder.write("n01/a.jpg", encode_jpeg(gradient(4, 4, 1)));
  folder.write("n02/b.jpg", encode_jpeg(gradient(4, 4, 2)));
  EXPECT_EQ(open_dataset(folder.path(), Split::kTrain)->size(), 2);
  EXPECT_EQ(open_dataset(folder.path(), Split::kTest)->classes()[1], "n02");
}

TEST(ImageFolder, AClassHasOneLabelInBothSplits) {
  const TemporaryFolder folder;
  for (const char* name : {"train/ant/a.jpg", "train/bee/b.jpg", "train/cow/c.jpg", "val/cow/d.jpg"}) {
    folder.write(name, encode_jpeg(gradient(4, 4, 1)));
  }
  const auto test = open_dataset(folder.path(), Split::kTest);
  EXPECT_EQ(test->classes(), (std::vector<std::string>{"ant", "bee", "cow"}));
  ASSERT_EQ(test->size(), 1);
  EXPECT_EQ(test->label(0), 2) << "cow, although the test split has no ant and no bee";
  folder.write("val/bear/e.jpg", encode_jpeg(gradient(4, 4, 1)));
  expect_error(ErrorKind::kData, {"val/bear", "no class of this name", "3 classes are ant, bee, cow"},
               [&] { open_dataset(folder.path(), Split::kTest); });
  std::filesystem::remove_all(folder.path() / "train");
  EXPECT_EQ(open_dataset(folder.path(), Split::kTest)->classes(), (std::vector<std::string>{"bear", "cow"}));
}

TEST(ImageFolder, RefusesWhatIsWrong) {
  const TemporaryFolder folder;
  folder.write("train/cat/a.jpg", encode_jpeg(gradient(4, 4, 1)));
  expect_error(ErrorKind::kData, {"test split", "val or test"},
               [&] { open_dataset(folder.path(), Split::kTest); });
  std::filesystem::create_directories(folder.path() / "test");
  expect_error(ErrorKind::kData, {"0 class folders"}, [&] { open_dataset(folder.path(), Split::kTest); });
  std::filesystem::create_directories(folder.path() / "train/dog");
  expect_error(ErrorKind::kData, {"train/dog", "0 images"},
               [&] { open_dataset(folder.path(), Split::kTrain); });
  folder.write("train/dog/x.webp", {'x'});
  expect_error(ErrorKind::kData, {"x.webp", ".webp is not supported"},
               [&] { open_dataset(folder.path(), Split::kTrain); });
  OpenOptions options;
  options.channels = 4;
  expect_error(ErrorKind::kConfig, {"channels is 4"},
               [&] { open_dataset(folder.path(), Split::kTrain, options); });
}

TEST(ImageFolder, BadSamplesNameTheFile) {
  const TemporaryFolder folder;
  folder.write("train/cat/a.jpg", {0xFF, 0xD8, 0xFF, 0xE0});
  folder.write("train/cat/b.jpg", {});
  folder.write("train/cat/c.jpg", {'x'});
  const auto dataset = open_dataset(folder.path(), Split::kTrain);
  std::filesystem::remove(folder.path() / "train/cat/c.jpg");
  expect_error(ErrorKind::kData, {"a.jpg", "truncated at 4 bytes"}, [&] { dataset->load(0); });
  expect_error(ErrorKind::kData, {"b.jpg", "empty"}, [&] { dataset->load(1); });
  expect_error(ErrorKind::kData, {"c.jpg", "cannot open"}, [&] { dataset->load(2); });
}

TEST(ImageFolder, LoopOfSymbolicLinksEnds) {
  const TemporaryFolder folder;
  folder.write("train/cat/a.jpg", encode_jpeg(gradient(4, 4, 1)));
  std::filesystem::create_directory_symlink(folder.path() / "train/cat", folder.path() / "train/cat/again");
  expect_error(ErrorKind::kData, {"nested deeper"}, [&] { open_dataset(folder.path(), Split::kTrain); });
}

TEST(ImageFolder, AFileLargerThanAnyImageCostsNoMemory) {
  const TemporaryFolder folder;
  folder.write("train/cat/a.png", {0x89, 'P', 'N', 'G'});
  std::filesystem::resize_file(folder.path() / "train/cat/a.png",
                               uintmax_t{1} << 40);  // takes no room on disk
  const auto dataset = open_dataset(folder.path(), Split::kTrain);
  expect_error(ErrorKind::kData, {"a.png", "1099511627776 bytes, allowed are"}, [&] { dataset->load(0); });
}

TEST(OpenDataset, SaysWhatIsMissing) {
  const TemporaryFolder folder;
  expect_error(ErrorKind::kData, {"no data set found", "data_batch_1.bin"},
               [&] { open_dataset(folder.path(), Split::kTrain); });
  expect_error(ErrorKind::kData, {"nowhere", "no such data folder"},
               [&] { open_dataset(folder.path() / "nowhere", Split::kTrain); });
}

TEST(ReadFile, RefusesFoldersAndPipes) {
  const TemporaryFolder folder;
  expect_error(ErrorKind::kData, {"not a regular file"}, [&] { read_file(folder.path()); });
  const std::string pipe = (folder.path() / "pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  expect_error(ErrorKind::kData, {"pipe", "not a regular file"}, [&] { read_file(pipe); });
}

/// This process can open no further file while it lives, or until allow().
class NoFiles {
 public:
  NoFiles() {
    const int unused = ::open("/dev/null", O_RDONLY);
    ::close(unused);
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit none{static_cast<rlim_t>(unused), before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoFiles() { allow(); }
  void allow() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST(ReadFile, WhatPassesIsTriedAgain) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizers' own checks open files";
#endif
  const TemporaryFolder folder;
  folder.write("file", {1, 2, 3});
  const auto read_when_files_are_back_after = [&](int warnings) {
    NoFiles no_files;
    const LogCapture log([&] {
      if (--warnings == 0) no_files.allow();
    });
    return read_file(folder.path() / "file").size();
  };
  EXPECT_EQ(read_when_files_are_back_after(1), 3u);
  EXPECT_EQ(read_when_files_are_back_after(2), 3u);
  expect_error(ErrorKind::kData, {"file", "Too many open files"}, [&] { read_when_files_are_back_after(4); });
}

MemoryDataset::Contents memory_contents() {
  MemoryDataset::Contents contents;
  contents.shape = {2, 2, 1};
  contents.pixels = generated_bytes(3, 12);
  contents.labels = {0, 1, 0};
  contents.classes = {"a", "b"};
  return contents;
}

TEST(MemoryDataset, ChecksItsContents) {
  EXPECT_EQ(MemoryDataset(memory_contents()).size(), 3);
  auto contents = memory_contents();
  contents.labels = {0, 1};
  expect_error(ErrorKind::kData, {"12 bytes", "2 images"}, [&] { MemoryDataset{contents}; });
  contents = memory_contents();
  contents.labels[1] = -1;
  expect_error(ErrorKind::kData, {"record 1", "label -1", "[0, 2)"}, [&] { MemoryDataset{contents}; });
  contents = memory_contents();
  contents.labels.clear();
  contents.pixels.clear();
  expect_error(ErrorKind::kData, {"0 samples"}, [&] { MemoryDataset{contents}; });
  contents = memory_contents();
  contents.shape.width = 0;
  expect_error(ErrorKind::kData, {"2x0x1"}, [&] { MemoryDataset{contents}; });
}

TEST(Subset, RenumbersSamples) {
  const auto whole = std::make_shared<MemoryDataset>(memory_contents());
  const auto tail = subset(whole, 1, 2);
  ASSERT_EQ(tail->size(), 2);
  EXPECT_EQ(tail->label(0), 1);
  EXPECT_EQ(tail->load(1), whole->load(2));
  EXPECT_EQ(tail->describe(0), whole->describe(1));
  EXPECT_EQ(tail->image_shape(), whole->image_shape());
  const auto chosen = subset(whole, {2, 0, 2});
  EXPECT_EQ(chosen->size(), 3);
  EXPECT_EQ(chosen->load(1), whole->load(0));
  expect_error(ErrorKind::kConfig, {"[1, 1 + 3)", "[0, 3)"}, [&] { subset(whole, 1, 3); });
  expect_error(ErrorKind::kConfig, {"sample 3"}, [&] { subset(whole, {0, 3}); });
  expect_error(ErrorKind::kConfig, {"no samples"}, [&] { subset(whole, std::vector<int64_t>{}); });
}

}  // namespace
}  // namespace residuum
