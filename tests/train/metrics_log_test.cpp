// MetricsLog and EventFile: the three files' content, resume, faults, and TensorBoard's own reader (skipped
// where the Python package is absent).
#include "engine/train/metrics_log.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "engine/core/check.h"
#include "engine/core/crc32c.h"
#include "tests/support/log_capture.h"
#include "tests/support/source_tree.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

class MetricsLogTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "residuum_metrics_XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    inject_file_faults("");
    fs::remove_all(directory_);
  }
  // `text` with the characters of a number after each `before` replaced by W.
  static std::string without_numbers(std::string text, std::string_view before) {
    for (size_t at = text.find(before); at != std::string::npos; at = text.find(before, at)) {
      at += before.size();
      text.replace(at, text.find_first_not_of("0123456789.e+", at) - at, "W");
    }
    return text;
  }
  // File contents with the wall times replaced by W.
  static std::string json_of(const fs::path& directory) {
    return without_numbers(read_text_file(directory / "metrics.jsonl"), "\"wall_time\":");
  }
  static std::string csv_of(const fs::path& directory) {
    std::istringstream lines(read_text_file(directory / "metrics.csv"));
    std::string result, line;
    for (bool header = true; std::getline(lines, line); header = false) {
      const size_t third = line.find(',', line.find(',') + 1) + 1;
      if (!header) line.replace(third, std::min(line.find(',', third), line.size()) - third, "W");
      result += line + "\n";
    }
    return result;
  }
  static void write_steps(MetricsLog& log, int64_t first, int64_t last) {
    for (int64_t step = first; step <= last; ++step) {
      const double loss = 1.0 / static_cast<double>(step);
      if (step % 3 == 0) {
        log.write(step, step / 4, {{"loss", loss}, {"val,top1", 0.1 * static_cast<double>(step)}});
      } else {
        log.write(step, step / 4, {{"loss", step % 5 == 0 ? NAN : loss}, {"lr", 0.1}});
      }
    }
  }
  std::vector<fs::path> event_files() const {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(directory_)) {
      if (entry.path().filename().string().starts_with("events.out.tfevents.")) paths.push_back(entry.path());
    }
    return paths;
  }

  fs::path directory_;
  LogCapture log_;
};

TEST_F(MetricsLogTest, WritesLinesAndTable) {
  MetricsLog log(directory_);
  log.write(1, 0, {{"loss", 0.5}, {"lr", 1.0}});
  log.write(2, 0, {{"loss", NAN}, {"lr", INFINITY}});
  log.write(2, 1, {{"top \"1\", %", 12.25}});
  log.write(3, 1, {{"lr", 1e-7}, {"loss", 3.0}});
  EXPECT_EQ(json_of(directory_),
            "{\"step\":1,\"epoch\":0,\"wall_time\":W,\"loss\":0.5,\"lr\":1.0}\n"
            "{\"step\":2,\"epoch\":0,\"wall_time\":W,\"loss\":null,\"lr\":null}\n"
            "{\"step\":2,\"epoch\":1,\"wall_time\":W,\"top \\\"1\\\", %\":12.25}\n"
            "{\"step\":3,\"epoch\":1,\"wall_time\":W,\"lr\":1e-07,\"loss\":3.0}\n");
  EXPECT_EQ(csv_of(directory_),
            "step,epoch,wall_time,loss,lr,\"top \"\"1\"\", %\"\n"
            "1,0,W,0.5,1.0,\n"
            "2,0,W,nan,nan,\n"
            "2,1,W,,,12.25\n"
            "3,1,W,3.0,1e-07,\n");
  EXPECT_EQ(log_.text(), "");
}

TEST_F(MetricsLogTest, NamesMustDiffer) {
  MetricsLog log(directory_);
  EXPECT_THROW(log.write(1, 0, {{"loss", 1}, {"loss", 2}}), Error);
  EXPECT_THROW(log.write(1, 0, {{"step", 1}}), Error);
}

TEST_F(MetricsLogTest, ResumedFilesEqualUninterruptedOnes) {
  MetricsLog whole(directory_ / "whole");
  write_steps(whole, 1, 8);
  for (const int64_t killed_at : {1, 4, 8}) {
    for (int64_t resumed = 0; resumed <= killed_at; ++resumed) {
      fs::remove_all(directory_ / "resumed");
      {
        MetricsLog first(directory_ / "resumed");
        write_steps(first, 1, killed_at);
      }
      MetricsLog second(directory_ / "resumed", resumed);
      write_steps(second, resumed + 1, 8);
      EXPECT_EQ(json_of(directory_ / "resumed"), json_of(directory_ / "whole"));
      EXPECT_EQ(csv_of(directory_ / "resumed"), csv_of(directory_ / "whole"));
    }
  }
}

TEST_F(MetricsLogTest, NewRunStartsEmpty) {
  {
    MetricsLog log(directory_);
    write_steps(log, 0 + 1, 4);
  }
  const MetricsLog log(directory_);
  EXPECT_EQ(json_of(directory_), "");
  EXPECT_EQ(csv_of(directory_), "step,epoch,wall_time\n");
}

TEST_F(MetricsLogTest, TornLastLineIsDropped) {
  {
    MetricsLog log(directory_);
    write_steps(log, 1, 2);
  }
  const std::string whole = json_of(directory_);
  AppendFile(directory_ / "metrics.jsonl").write("{\"step\":3,\"epo");
  const MetricsLog log(directory_, 100);
  EXPECT_EQ(json_of(directory_), whole);
  EXPECT_NE(log_.text().find("1 incomplete lines are dropped"), std::string::npos) << log_.text();
}

TEST_F(MetricsLogTest, DiskFullIsWarnedOfOnceAndTrainingGoesOn) {
  for (const char* fault : {"write:1:ENOSPC", "write:2:ENOSPC", "write:3:EIO", "write:1:SHORT|write:2:ENOSPC",
                            "write:1:EIO|write:2:EIO|write:3:EIO|write:4:EIO|write:5:EIO|write:6:EIO"}) {
    SCOPED_TRACE(fault);
    MetricsLog log(directory_);
    log.write(1, 0, {{"loss", 0.5}});
    log_.clear();
    inject_file_faults(fault);
    log.write(2, 0, {{"loss", 0.25}});
    log.write(3, 0, {{"loss", 0.25}});
    inject_file_faults("");
    const std::string text = log_.text();
    const size_t first = text.find("metrics are incomplete");
    EXPECT_NE(first, std::string::npos) << text;
    EXPECT_EQ(text.find("metrics are incomplete", first + 1), std::string::npos) << text;
    log.write(4, 0, {{"loss", 0.125}});
    EXPECT_NE(json_of(directory_).find("}\n{\"step\":4,\"epoch\":0,\"wall_time\":W,\"loss\":0.125}\n"),
              std::string::npos);
    EXPECT_NE(csv_of(directory_).find("\n4,0,W,0.125\n"), std::string::npos) << csv_of(directory_);
  }
}

TEST_F(MetricsLogTest, FailedTableRebuildIsRepairedByTheNextLine) {
  MetricsLog log(directory_);
  log.write(1, 0, {{"loss", 0.5}});
  inject_file_faults("rename:1:EIO");
  log.write(2, 0, {{"loss", 0.25}, {"top1", 1}});
  inject_file_faults("");
  log.write(3, 0, {{"loss", 0.125}});
  EXPECT_EQ(csv_of(directory_), "step,epoch,wall_time,loss,top1\n1,0,W,0.5,\n2,0,W,0.25,1.0\n3,0,W,0.125,\n");
  inject_file_faults("fsync:1:EIO|fsync:2:EIO|fsync:3:EIO");
  log.sync();
}

TEST_F(MetricsLogTest, OpeningOnAFullDiskIsAnError) {
  inject_file_faults("write:1:ENOSPC");
  EXPECT_THROW(MetricsLog{directory_}, Error);
}

uint64_t little_endian(const std::string& bytes, size_t offset, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i)
    value |= uint64_t{static_cast<unsigned char>(bytes.at(offset + i))} << (8 * i);
  return value;
}

TEST_F(MetricsLogTest, EventRecordsHaveValidFrames) {
  MetricsLog log(directory_);
  log.write(300, 0, {{"loss", 0.5}});
  const auto files = event_files();
  ASSERT_EQ(files.size(), 1u);
  const std::string content = read_text_file(files[0]);
  const auto masked = [](std::string_view bytes) {
    const uint32_t crc = crc32c(bytes_of(bytes));
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
  };
  std::vector<std::string> records;
  for (size_t at = 0; at < content.size();) {
    const size_t size = little_endian(content, at, 8);
    EXPECT_EQ(little_endian(content, at + 8, 4), masked(content.substr(at, 8)));
    records.push_back(content.substr(at + 12, size));
    EXPECT_EQ(little_endian(content, at + 12 + size, 4), masked(records.back()));
    at += 16 + size;
  }
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].substr(9), std::string("\x10\x00\x1A\x0D"
                                              "brain.Event:2",
                                              17));
  // step 300; summary { value { tag "loss" simple_value 0.5 } }
  EXPECT_EQ(records[1].substr(9),
            std::string("\x10\xAC\x02\x2A\x0D\x0A\x0B\x0A\x04loss\x15\x00\x00\x00\x3F", 18));
}

TEST_F(MetricsLogTest, EveryOpenHasAnEventFileOfItsOwn) {
  const MetricsLog first(directory_), second(directory_);
  EXPECT_EQ(event_files().size(), 2u);
}

TEST_F(MetricsLogTest, TensorBoardReadsTheScalars) {
  {
    MetricsLog log(directory_);
    for (int64_t step = 1; step <= 5; ++step)
      log.write(step, 0, {{"loss", 0.5}, {"lr", static_cast<double>(step)}});
  }
  {
    MetricsLog log(directory_, 3);
    log.write(4, 0, {{"loss", 0.25}, {"lr", -4}});
  }
  const fs::path output = directory_ / "output.txt";
  const std::string command = fmt::format("python3 '{}/tests/train/tensorboard_check.py' '{}' > '{}'",
                                          source_tree().string(), directory_.string(), output.string());
  const int status = std::system(command.c_str());
  if (WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 127)) {
    GTEST_SKIP() << "python3 with the package tensorboard is not installed";
  }
  ASSERT_EQ(status, 0);
  EXPECT_EQ(read_text_file(output),
            "loss 1 0.5\nloss 2 0.5\nloss 3 0.5\nloss 4 0.25\nlr 1 1\nlr 2 2\nlr 3 3\nlr 4 -4\n");
}

}  // namespace
}  // namespace residuum
