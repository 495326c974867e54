// engine/core/file and crc32c: atomic writing under every injected fault, appending, reading, locking.
// Faults are injected in this process, except that KILL and the environment variable are tried in children.
#include "engine/core/file.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <vector>

#include "engine/core/check.h"
#include "engine/core/crc32c.h"
#include "tests/support/error_of.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "residuum_file_XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    inject_file_faults("");
    fs::remove_all(directory_);
  }
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  // Runs `action` in a child process; returns the signal that ended it, or zero when it returned.
  static int signal_of_child(const std::function<void()>& action) {
    const pid_t child = ::fork();
    if (child == 0) {
      action();
      ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  }

  fs::path directory_;
};

using Strings = std::vector<std::string>;

TEST(Crc32cTest, KnownValuesAndPieces) {
  EXPECT_EQ(crc32c({}), 0u);
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283u);
  const std::string zeros(32, '\0');
  EXPECT_EQ(crc32c(bytes_of(zeros)), 0x8a9136aau);
  const std::string text = "The quick brown fox jumps over the lazy dog";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(crc32c(bytes_of(text).subspan(cut), crc32c(bytes_of(text).first(cut))), crc32c(bytes_of(text)));
  }
}

TEST_F(FileTest, WritesPartsAndReplaces) {
  const fs::path path = directory_ / "a.txt";
  const std::array parts = {bytes_of("one "), bytes_of(""), bytes_of("two")};
  write_file_atomically(path, parts);
  EXPECT_EQ(read_text_file(path), "one two");
  write_file_atomically(path, "new");
  EXPECT_EQ(read_text_file(path), "new");
  write_file_atomically(path, "");
  EXPECT_EQ(read_text_file(path), "");
  EXPECT_EQ(names(), Strings{"a.txt"});
}

TEST_F(FileTest, EveryFailingCallLeavesTheOldFileAndNoTemporary) {
  const fs::path path = directory_ / "a.txt";
  const std::array parts = {bytes_of("first "), bytes_of("second")};
  for (const char* fault :
       {"open:1:EMFILE", "write:1:ENOSPC", "write:2:EDQUOT", "fsync:1:EIO", "rename:1:EROFS"}) {
    SCOPED_TRACE(fault);
    write_file_atomically(path, "old");
    inject_file_faults(fault);
    const std::string message = error_of(ErrorKind::kIo, [&] { write_file_atomically(path, parts); });
    inject_file_faults("");
    EXPECT_NE(message.find("a.txt"), std::string::npos) << message;
    EXPECT_EQ(read_text_file(path), "old");
    EXPECT_EQ(names(), Strings{"a.txt"});
    write_file_atomically(path, parts);
    EXPECT_EQ(read_text_file(path), "first second");
  }
}

TEST_F(FileTest, FailedWriteNamesBytesPathAndReason) {
  inject_file_faults("write:1:SHORT|write:2:ENOSPC");
  const std::string path = (directory_ / "a.txt").string();
  EXPECT_EQ(error_of(ErrorKind::kIo, [&] { write_file_atomically(path, "12345678"); }),
            "cannot write 7 bytes (after 1) to " + path + ": No space left on device");
}

TEST_F(FileTest, FailedDirectorySyncIsReportedWithTheNewFileInPlace) {
  const fs::path path = directory_ / "a.txt";
  inject_file_faults("fsync:2:EIO");
  EXPECT_NE(error_of(ErrorKind::kIo, [&] { write_file_atomically(path, "new"); }).find("fsync directory"),
            std::string::npos);
  EXPECT_EQ(read_text_file(path), "new");
}

TEST_F(FileTest, ShortWritesAndInterruptionsAreContinued) {
  inject_file_faults("open:1:EINTR|write:1:SHORT|write:2:EINTR|write:3:SHORT|fsync:1:EINTR|rename:1:EINTR");
  write_file_atomically(directory_ / "a.txt", "12345678");
  EXPECT_EQ(read_text_file(directory_ / "a.txt"), "12345678");
  EXPECT_EQ(names(), Strings{"a.txt"});
}

TEST_F(FileTest, CallsThatWereDoneAlthoughTheirAnswerWasLostAreDone) {
  const fs::path path = directory_ / "a.txt";
  write_file_atomically(path, "old");
  inject_file_faults("rename:1:LOST|remove:1:LOST");
  write_file_atomically(path, "new");
  EXPECT_EQ(read_text_file(path), "new");
  EXPECT_EQ(names(), Strings{"a.txt"});
  remove_file(path);
  EXPECT_EQ(names(), Strings{});
}

TEST_F(FileTest, KillAtEveryCallLeavesOneWholeFile) {
  const fs::path path = directory_ / "a.txt";
  const std::array parts = {bytes_of("first "), bytes_of("second")};
  int kills = 0;
  for (const char* operation : {"open", "write", "fsync", "rename", "remove"}) {
    for (int call = 1;; ++call) {
      SCOPED_TRACE(fmt::format("{} {}", operation, call));
      write_file_atomically(path, "old");
      const int signal = signal_of_child([&] {
        inject_file_faults(fmt::format("{}:{}:KILL", operation, call));
        write_file_atomically(path, parts);
      });
      sweep_temporaries(directory_);
      EXPECT_EQ(names(), Strings{"a.txt"});
      const std::string content = read_text_file(path);
      EXPECT_TRUE(content == "old" || content == "first second") << content;
      if (signal == 0) break;
      EXPECT_EQ(signal, SIGKILL);
      ++kills;
    }
  }
  EXPECT_EQ(kills, 2 + 2 + 2 + 1 + 0);  // open and fsync of the file and of the directory
}

TEST_F(FileTest, EnvironmentVariableInjectsFaults) {
  const std::string path = (directory_ / "a.txt").string();
  const std::string command = fmt::format(
      "RESIDUUM_FAULT='{}' RESIDUUM_TEST_FILE='{}' /proc/{}/exe --gtest_also_run_disabled_tests "
      "--gtest_filter=FileChild.DISABLED_WritesAFile > /dev/null 2>&1",
      "rename:1:EIO", path, ::getpid());
  EXPECT_NE(std::system(command.c_str()), 0);
  EXPECT_FALSE(fs::exists(path));
  std::string without_fault = command;
  without_fault.replace(without_fault.find("rename:1"), 8, "rename:2");
  EXPECT_EQ(std::system(without_fault.c_str()), 0);
  EXPECT_EQ(read_text_file(path), "child");
}

// Not a case of its own: what EnvironmentVariableInjectsFaults runs in another process.
TEST(FileChild, DISABLED_WritesAFile) {
  write_file_atomically(std::getenv("RESIDUUM_TEST_FILE"), "child");
}

TEST_F(FileTest, BadFaultSpecsAreRefused) {
  for (const char* spec : {"write", "write:1", "write:0:EIO", "write:x:EIO", "write:1:EWHAT", "read:1:EIO",
                           "write:1x:EIO", "fsync:1:SHORT", "write:1:LOST", "write:1:EIO||fsync:1:EIO"}) {
    EXPECT_NE(error_of(ErrorKind::kUsage, [&] { inject_file_faults(spec); }).find("OPERATION:CALL:EFFECT"),
              std::string::npos)
        << spec;
  }
}

TEST_F(FileTest, SweepRemovesTemporariesOnly) {
  for (const char* name :
       {".a.txt.tmp.123", ".b.tmp.1", "a.txt", ".hidden", "c.tmp.5", ".d.tmp.x", ".e.tmp."}) {
    write_file_atomically(directory_ / name, "x");
  }
  EXPECT_EQ(sweep_temporaries(directory_), 2);
  EXPECT_EQ(names(), (Strings{".d.tmp.x", ".e.tmp.", ".hidden", "a.txt", "c.tmp.5"}));
  error_of(ErrorKind::kIo, [&] { sweep_temporaries(directory_ / "absent"); });
}

TEST_F(FileTest, AppendsAndCutsBackFailedWrites) {
  const fs::path path = directory_ / "log";
  AppendFile file(path);
  file.write("one\n");
  inject_file_faults("write:1:SHORT|write:2:ENOSPC");
  error_of(ErrorKind::kIo, [&] { file.write("torn\n"); });
  EXPECT_EQ(read_text_file(path), "one\n");
  file.write("two\n");
  file.sync();
  AppendFile(path).write("three\n");
  EXPECT_EQ(read_text_file(path), "one\ntwo\nthree\n");
  inject_file_faults("fsync:1:EIO");
  error_of(ErrorKind::kIo, [&] { file.sync(); });
}

TEST_F(FileTest, ReadingReportsWhatIsWrong) {
  const fs::path path = directory_ / "a.txt";
  EXPECT_NE(error_of(ErrorKind::kIo, [&] { read_text_file(path); }).find("No such file"), std::string::npos);
  EXPECT_NE(error_of(ErrorKind::kIo, [&] { read_text_file(directory_); }).find("not a regular file"),
            std::string::npos);
  write_file_atomically(path, "12345678");
  EXPECT_NE(error_of(ErrorKind::kIo, [&] { read_text_file(path, 7); }).find("8 bytes, at most 7"),
            std::string::npos);
  EXPECT_EQ(read_text_file(path, 8), "12345678");
  const InputFile file(path);
  std::array<std::byte, 3> bytes{};
  file.read(5, bytes);
  EXPECT_EQ(bytes[0], std::byte{'6'});
  EXPECT_NE(error_of(ErrorKind::kIo, [&] { file.read(6, bytes); }).find("file ends there"),
            std::string::npos);
}

TEST_F(FileTest, RemovingTwiceIsNoError) {
  write_file_atomically(directory_ / "a.txt", "x");
  inject_file_faults("remove:1:EACCES");
  error_of(ErrorKind::kIo, [&] { remove_file(directory_ / "a.txt"); });
  remove_file(directory_ / "a.txt");
  remove_file(directory_ / "a.txt");
  EXPECT_EQ(names(), Strings{});
}

TEST_F(FileTest, LockNamesItsHolderAndEndsWithIt) {
  {
    const DirectoryLock lock(directory_);
    const std::string message = error_of(ErrorKind::kIo, [&] { DirectoryLock second(directory_); });
    EXPECT_NE(message.find(fmt::format("process {} on host ", ::getpid())), std::string::npos) << message;
    EXPECT_NE(message.find(directory_.string()), std::string::npos) << message;
  }
  const DirectoryLock again(directory_);
}

TEST_F(FileTest, LockOfAKilledProcessIsTakenOver) {
  EXPECT_EQ(signal_of_child([&] {
              const DirectoryLock lock(directory_);
              ::raise(SIGKILL);
            }),
            SIGKILL);
  EXPECT_TRUE(fs::exists(directory_ / "lock"));
  const DirectoryLock lock(directory_);
  EXPECT_NE(read_text_file(directory_ / "lock").find(fmt::format("process {} ", ::getpid())),
            std::string::npos);
}

TEST_F(FileTest, LockRefusesWhileAnotherProcessLives) {
  std::array<int, 2> ready{}, done{};
  ASSERT_EQ(::pipe(ready.data()) | ::pipe(done.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const DirectoryLock lock(directory_);
    char byte = 'r';
    const bool ok = ::write(ready[1], &byte, 1) == 1 && ::read(done[0], &byte, 1) == 1;
    ::_exit(ok ? 0 : 1);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const std::string message = error_of(ErrorKind::kIo, [&] { DirectoryLock lock(directory_); });
  EXPECT_NE(message.find(fmt::format("process {} on host ", child)), std::string::npos) << message;
  ASSERT_EQ(::write(done[1], &byte, 1), 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  const DirectoryLock lock(directory_);
}

}  // namespace
}  // namespace residuum
