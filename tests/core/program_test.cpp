// Other programs started from this one: what they print on each stream, how they end, and those that cannot
// start or do not end.
#include "engine/core/program.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "engine/core/check.h"
#include "engine/core/temporary_folder.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

ErrorKind kind_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorKind::kInternal;
}

TEST(Program, BothStreamsAndTheExitCode) {
  const ProgramResult result = run_program("/bin/sh", {"-c", "printf 'a b'; printf c >&2; exit 7"}, 60);
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_EQ(result.output, "a b");
  EXPECT_EQ(result.errors, "c");
}

TEST(Program, MuchOnBothStreamsAtOnceIsReadWhole) {
  // More than a pipe holds: a reader of one stream after the other would wait for ever.
  const ProgramResult result = run_program(
      "/bin/sh",
      {"-c", "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"}, 60);
  EXPECT_EQ(result.output.size(), 300'000u);
  EXPECT_EQ(result.errors.size(), 600'000u);
}

TEST(Program, ASignalIsNotedLikeAShellNotesIt) {
  EXPECT_EQ(run_program("/bin/sh", {"-c", "kill -9 $$"}, 60).exit_code, 128 + 9);
}

TEST(Program, OneThatCannotStartOrDoesNotEndIsAnError) {
  EXPECT_EQ(kind_of([] { run_program("/nowhere/program", {}, 60); }), ErrorKind::kUsage);
  EXPECT_EQ(kind_of([] { run_program("/bin/sh", {"-c", "exec sleep 1000"}, 0.05); }), ErrorKind::kIo);
}

TEST(Program, IsFoundInTheOrderOfFoldersWhenItMayRun) {
  const TemporaryFolder first, second;
  const auto write = [](const fs::path& file, bool may_run) {
    std::ofstream(file) << "#!/bin/sh\n";
    if (may_run) fs::permissions(file, fs::perms::owner_all);
  };
  const std::vector<fs::path> folders = {first.path(), second.path()};
  write(first.path() / "one", false);
  write(second.path() / "one", true);
  write(second.path() / "two", true);
  fs::create_directory(first.path() / "two");
  EXPECT_EQ(find_program({"one"}, folders), second.path() / "one");
  EXPECT_EQ(find_program({"two", "one"}, folders), second.path() / "two");
  EXPECT_EQ(find_program({"three"}, folders), std::nullopt);
}

TEST(TemporaryFolder, IsGoneWithAllThatIsInIt) {
  fs::path path;
  {
    const TemporaryFolder folder;
    path = folder.path();
    fs::create_directories(path / "a" / "b");
    EXPECT_TRUE(fs::exists(path));
  }
  EXPECT_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace residuum
