// `data verify`: bad files are listed with reasons, whatever the number of threads.
#include "engine/data/verify.h"

#include <stdexcept>

#include "tests/support/data_fixtures.h"

namespace residuum {
namespace {

using namespace fixtures;

TEST(Verify, ListsBadFilesAndCountsClasses) {
  const TemporaryFolder folder;
  const Bytes good = encode_jpeg(gradient(9, 9, 1));
  for (const char* name : {"a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg"}) {
    folder.write(std::string("train/") + name, good);
  }
  folder.write("train/b/2.jpg", Bytes(good.begin(), good.end() - 20));
  folder.write("train/a/2.jpg", {'x'});
  for (const int threads : {1, 4}) {
    std::vector<int64_t> calls;
    const VerifyReport report = verify_dataset(
        folder.path(), Split::kTrain,
        [&](int64_t done, int64_t total) {
          EXPECT_EQ(total, 5);
          calls.push_back(done);
        },
        threads);
    EXPECT_EQ(calls, (std::vector<int64_t>{1, 2, 3, 4, 5}));
    EXPECT_EQ(report.samples, 5);
    EXPECT_EQ(report.classes, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(report.class_counts, (std::vector<int64_t>{2, 3}));
    ASSERT_EQ(report.bad.size(), 2u);
    EXPECT_EQ(report.bad[0].index, 1);
    EXPECT_TRUE(report.bad[0].name.ends_with("train/a/2.jpg"));
    EXPECT_NE(report.bad[0].reason.find("neither JPEG nor PNG"), std::string::npos);
    EXPECT_EQ(report.bad[1].index, 3);
    EXPECT_NE(report.bad[1].reason.find("truncated"), std::string::npos);
  }
  expect_error(ErrorKind::kData, {"test split"}, [&] { verify_dataset(folder.path(), Split::kTest); });
  expect_error(ErrorKind::kConfig, {"threads is 0"},
               [&] { verify_dataset(folder.path(), Split::kTrain, {}, 0); });
  const auto stop = [](int64_t, int64_t) { throw std::runtime_error("stopped by the caller"); };
  EXPECT_THROW(verify_dataset(folder.path(), Split::kTrain, stop, 3), std::runtime_error);
}

}  // namespace
}  // namespace residuum
