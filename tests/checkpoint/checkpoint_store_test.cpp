// CheckpointStore: saves and loads, damaged states, faults injected into every call, SIGKILL at every call of
// a save.
#include "engine/checkpoint/store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <functional>
#include <set>

#include "engine/checkpoint/manifest.h"
#include "engine/checkpoint/tensor_values.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "tests/support/log_capture.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOperations[] = {"open", "write", "fsync", "rename", "remove"};

// A state whose content follows from the step and a variant number.
struct Content {
  explicit Content(int64_t step, int64_t variant = 0) : numbers(16, step * 1000 + variant), weights(4) {
    std::fill(weights.begin(), weights.end(), static_cast<float>(step));
    state.step = step;
    state.meta = {{"step", step}, {"variant", variant}};
    state.tensors = {{"weights", "F32", {4}, std::as_bytes(std::span(weights))},
                     {"momentum", "I64", {4, 4}, std::as_bytes(std::span(numbers))}};
    tensors = {{"weights", "F32", {4}, std::as_bytes(std::span(weights))}};
  }
  std::vector<int64_t> numbers;
  std::vector<float> weights;
  TrainingState state;
  std::vector<StoredTensor> tensors;
};

class CheckpointStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "residuum_store_XXXXXX";
    directory_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override {
    inject_file_faults("");
    fs::remove_all(directory_);
  }
  CheckpointStore store(size_t keep) const { return CheckpointStore(directory_ / "checkpoints", keep); }
  static void save(CheckpointStore& store, int64_t step, bool is_best = false, int64_t variant = 0) {
    const Content content(step, variant);
    const WeightsFile weights{content.tensors, {{"step", std::to_string(step)}}};
    store.save(content.state, weights, is_best ? &weights : nullptr);
  }
  // Loads the newest state, checks that it is whole, and returns its step; -1 when there is none.
  static int64_t loaded_step(CheckpointStore& store) {
    const std::optional<LoadedState> loaded = store.load_newest();
    if (!loaded) return -1;
    const Content expected(loaded->step, loaded->meta.at("variant"));
    EXPECT_EQ(loaded->meta, expected.state.meta);
    EXPECT_EQ(to_floats(*loaded->file.find("weights")), expected.weights);
    EXPECT_EQ(to_int64s(*loaded->file.find("momentum")), expected.numbers);
    return loaded->step;
  }
  static int64_t step_of_weights(const fs::path& path) {
    const SafetensorsFile file = SafetensorsFile::read(path);
    const int64_t step = std::stoll(file.metadata().at("step"));
    EXPECT_EQ(to_floats(*file.find("weights")), Content(step).weights);
    return step;
  }
  // Every file below the store, without those of weights.
  std::set<std::string> state_files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_ / "checkpoints")) {
      const std::string name = entry.path().filename().string();
      if (name != "last.safetensors" && name != "best.safetensors") names.insert(name);
    }
    return names;
  }
  fs::path file_of(int64_t step, bool manifest) const {
    for (const std::string& name : state_files()) {
      if ((manifest ? step_of_manifest_name(name) : step_of_state_file_name(name)) == step) {
        return directory_ / "checkpoints" / name;
      }
    }
    ADD_FAILURE() << "no file of step " << step;
    return {};
  }

  static void overwrite(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
  }
  // Fills "prepared" with a store that has saved `steps`, to be copied where many cases start from it.
  void prepare(size_t keep, const std::vector<int64_t>& steps) {
    fs::remove_all(directory_ / "prepared");
    CheckpointStore store(directory_ / "prepared", keep);
    for (const int64_t step : steps) save(store, step, true);
  }
  CheckpointStore copy_of_prepared(size_t keep) {
    fs::remove_all(directory_ / "checkpoints");
    fs::copy(directory_ / "prepared", directory_ / "checkpoints", fs::copy_options::recursive);
    return store(keep);
  }

  fs::path directory_;
  LogCapture log_;
};

TEST_F(CheckpointStoreTest, SavesLoadsAndKeepsTheNewest) {
  CheckpointStore store = this->store(2);
  EXPECT_EQ(loaded_step(store), -1);
  for (const int64_t step : {5, 10, 15, 20}) save(store, step, step == 10);
  EXPECT_EQ(store.steps(), (std::vector<int64_t>{15, 20}));
  EXPECT_EQ(state_files().size(), 4u);
  EXPECT_EQ(loaded_step(store), 20);
  EXPECT_EQ(step_of_weights(store.last_weights()), 20);
  EXPECT_EQ(step_of_weights(store.best_weights()), 10);
  CheckpointStore reopened = this->store(2);
  EXPECT_EQ(loaded_step(reopened), 20);
  EXPECT_EQ(log_.text(), "");
}

TEST_F(CheckpointStoreTest, RefusesToKeepNothingAndNegativeSteps) {
  EXPECT_THROW(store(0), Error);
  CheckpointStore store = this->store(1);
  EXPECT_THROW(save(store, -1), Error);
}

TEST_F(CheckpointStoreTest, SavingAStepAgainReplacesIt) {
  CheckpointStore store = this->store(1);
  save(store, 7, false, 1);
  save(store, 7, false, 2);
  save(store, 7, false, 2);
  EXPECT_EQ(loaded_step(store), 7);
  EXPECT_EQ(store.load_newest()->meta.at("variant"), 2);
  EXPECT_EQ(state_files().size(), 2u);
}

TEST_F(CheckpointStoreTest, GoingBackSupersedesLaterSteps) {
  CheckpointStore store = this->store(2);
  for (const int64_t step : {10, 20}) save(store, step);
  write_file_atomically(file_of(20, false), "torn");
  EXPECT_EQ(loaded_step(store), 10);
  save(store, 15);
  EXPECT_EQ(store.steps(), (std::vector<int64_t>{10, 15}));
  EXPECT_NE(log_.text().find("deleting the training state of step 20"), std::string::npos) << log_.text();
  EXPECT_EQ(state_files().size(), 4u);
}

TEST_F(CheckpointStoreTest, DeletedDirectoryComesBack) {
  CheckpointStore store = this->store(1);
  save(store, 1);
  fs::remove_all(directory_ / "checkpoints");
  save(store, 2);
  EXPECT_EQ(loaded_step(store), 2);
}

// Each damages the state of step 20 in one way; step 10 must then be loaded with a warning that says why.
TEST_F(CheckpointStoreTest, DamagedNewestStateFallsBackWithAWarning) {
  const auto damage = [&](bool manifest, const std::function<void(std::string&)>& change,
                          const char* warning) {
    SCOPED_TRACE(warning);
    fs::remove_all(directory_ / "checkpoints");
    CheckpointStore store = this->store(3);
    for (const int64_t step : {10, 20}) save(store, step);
    const fs::path path = file_of(20, manifest);
    std::string content = read_text_file(path);
    change(content);
    write_file_atomically(path, content);
    log_.clear();
    EXPECT_EQ(loaded_step(store), 10);
    EXPECT_NE(log_.text().find("step 20 is not usable"), std::string::npos) << log_.text();
    EXPECT_NE(log_.text().find(warning), std::string::npos) << log_.text();
    EXPECT_TRUE(fs::exists(path)) << "damaged files are kept for a person to look at";
  };
  damage(
      false, [](std::string& s) { s.pop_back(); }, "bytes, expected");
  damage(
      false, [](std::string& s) { s.clear(); }, "has 0 bytes, expected");
  damage(
      false, [](std::string& s) { s.back() ^= 1; }, "has the checksum");
  damage(
      false, [](std::string& s) { s[0] ^= 1; }, "has the checksum");
  damage(
      true, [](std::string& s) { s.pop_back(), s.pop_back(); }, "not a JSON object");
  damage(
      true, [](std::string& s) { s.clear(); }, "not a JSON object");
  damage(
      true, [](std::string& s) { s.replace(s.find("\"version\": 1"), 12, "\"version\": 2"); },
      "version is 2");
}

TEST_F(CheckpointStoreTest, EveryBitOfTheNewestStateIsChecked) {
  CheckpointStore store = this->store(2);
  for (const int64_t step : {10, 20}) save(store, step);
  for (const bool manifest : {false, true}) {
    const fs::path path = file_of(20, manifest);
    const std::string content = read_text_file(path);
    for (size_t bit = 0; bit < 8 * content.size(); bit += 5) {
      std::string flipped = content;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      overwrite(path, flipped);
      // A manifest may still say the same after a flip in its white space; then the state is whole.
      const int64_t step = loaded_step(store);
      EXPECT_TRUE(step == 10 || (manifest && step == 20)) << path << " bit " << bit;
    }
    overwrite(path, content);
  }
  EXPECT_EQ(loaded_step(store), 20);
}

TEST_F(CheckpointStoreTest, MissingTensorFileFallsBack) {
  CheckpointStore store = this->store(2);
  for (const int64_t step : {10, 20}) save(store, step);
  fs::remove(file_of(20, false));
  EXPECT_EQ(loaded_step(store), 10);
  EXPECT_NE(log_.text().find("No such file"), std::string::npos) << log_.text();
}

TEST_F(CheckpointStoreTest, OnlyDamagedStatesAreAnErrorNotAFreshStart) {
  CheckpointStore store = this->store(2);
  for (const int64_t step : {10, 20}) save(store, step);
  for (const int64_t step : {10, 20}) fs::remove(file_of(step, false));
  try {
    store.load_newest();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCheckpoint);
    const std::string message = error.what();
    EXPECT_NE(message.find("none of the 2 training states"), std::string::npos) << message;
    EXPECT_NE(message.find("step 10: "), std::string::npos) << message;
  }
}

TEST_F(CheckpointStoreTest, FailureOfEveryCallIsReportedAndHarmless) {
  prepare(1, {10});
  for (const char* operation : kOperations) {
    for (const char* effect : {"ENOSPC", "EIO"}) {
      for (int call = 1;; ++call) {
        SCOPED_TRACE(fmt::format("{}:{}:{}", operation, call, effect));
        CheckpointStore store = copy_of_prepared(1);
        inject_file_faults(fmt::format("{}:{}:{}", operation, call, effect));
        log_.clear();
        bool failed = false;
        try {
          save(store, 20, true);
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::kIo);
          EXPECT_NE(std::string(error.what()).find((directory_ / "checkpoints").string()), std::string::npos);
          failed = true;
        }
        inject_file_faults("");
        const bool warned = !log_.text().empty();
        const int64_t step = loaded_step(store);
        EXPECT_TRUE(failed ? step == 10 || step == 20 : step == 20) << step;
        step_of_weights(store.last_weights());
        step_of_weights(store.best_weights());
        save(store, 30);
        EXPECT_EQ(loaded_step(store), 30);
        EXPECT_EQ(state_files().size(), 2u);
        if (!failed && !warned) break;
      }
    }
  }
}

TEST_F(CheckpointStoreTest, DiskFullNamesPathAndBytesAndLeavesNothing) {
  CheckpointStore store = this->store(2);
  save(store, 10);
  const std::set<std::string> before = state_files();
  inject_file_faults("write:2:ENOSPC");
  try {
    save(store, 20);
    FAIL();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("write 128 bytes"), std::string::npos) << message;
    EXPECT_NE(message.find("state-0000000020-"), std::string::npos) << message;
    EXPECT_NE(message.find("No space left on device"), std::string::npos) << message;
  }
  EXPECT_EQ(state_files(), before);
}

TEST_F(CheckpointStoreTest, OnAFullDiskOlderStatesGiveWay) {
  CheckpointStore store = this->store(3);
  for (const int64_t step : {10, 20, 30}) save(store, step);
  inject_file_faults("write:2:ENOSPC");
  save(store, 40);
  EXPECT_EQ(store.steps(), (std::vector<int64_t>{30, 40}));
  EXPECT_EQ(loaded_step(store), 40);
  EXPECT_NE(log_.text().find("No space left on device; older training states are deleted"), std::string::npos)
      << log_.text();
  EXPECT_EQ(state_files().size(), 4u);

  // What stays is a state that can be loaded, although it is not the newest.
  write_file_atomically(file_of(40, false), "torn");
  inject_file_faults("write:2:EDQUOT|write:4:EDQUOT");
  EXPECT_THROW(save(store, 50), DiskFull);
  inject_file_faults("");
  EXPECT_EQ(store.steps(), std::vector<int64_t>{30});
  EXPECT_EQ(loaded_step(store), 30);

  inject_file_faults("write:2:ENOSPC");
  EXPECT_THROW(save(store, 50), DiskFull);
  EXPECT_EQ(loaded_step(store), 30) << "the only state stays";
}

TEST_F(CheckpointStoreTest, KillAtEveryCallLeavesALoadableState) {
  struct Case {
    const char* label;
    size_t keep;
    std::vector<int64_t> before;
    int64_t saved;
  };
  const std::vector<Case> cases = {{"first save", 1, {}, 10},
                                   {"one kept", 1, {10}, 20},
                                   {"two kept", 2, {10, 20, 30}, 40},
                                   {"the same step again", 1, {10, 20}, 20}};
  for (const Case& test : cases) {
    prepare(test.keep, test.before);
    int kills = 0;
    for (const char* operation : kOperations) {
      for (int call = 1;; ++call) {
        SCOPED_TRACE(fmt::format("{}: {}:{}:KILL", test.label, operation, call));
        CheckpointStore store = copy_of_prepared(test.keep);
        const pid_t child = ::fork();
        if (child == 0) {
          inject_file_faults(fmt::format("{}:{}:KILL", operation, call));
          save(store, test.saved, true, 1);
          ::_exit(0);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        const bool killed = WIFSIGNALED(status);
        const int64_t newest = loaded_step(store);
        const int64_t previous = test.before.empty() ? -1 : test.before.back();
        EXPECT_TRUE(newest == test.saved || (killed && newest == previous)) << newest;
        EXPECT_EQ(state_files().size(), 2 * store.steps().size()) << "temporaries and orphans are swept";
        if (!test.before.empty()) {
          step_of_weights(store.last_weights());
          step_of_weights(store.best_weights());
        }
        save(store, test.saved + 1);
        EXPECT_EQ(loaded_step(store), test.saved + 1);
        EXPECT_EQ(log_.text(), "") << "a kill damages nothing";
        if (!killed) break;
        EXPECT_EQ(WTERMSIG(status), SIGKILL);
        ++kills;
      }
    }
    EXPECT_GE(kills, 4 * 5)
        << test.label;  // four files: open, write, fsync, rename, directory open and fsync
  }
}

TEST(ManifestTest, RoundTripAndNames) {
  const StateManifest manifest{123, state_file_name(123, 0x1a2b3c4d), 4096, 0x1a2b3c4d};
  EXPECT_EQ(manifest.file, "state-0000000123-1a2b3c4d.safetensors");
  EXPECT_EQ(parse_manifest("m", to_json(manifest)), manifest);
  EXPECT_EQ(step_of_manifest_name("state-0000000123.json"), 123);
  EXPECT_EQ(step_of_manifest_name(manifest_name(123456789012345)), 123456789012345);
  EXPECT_EQ(step_of_state_file_name(manifest.file), 123);
  for (const char* name :
       {"", "state-", "state-123.json", "state-0000000123.json2", "state--000000123.json",
        "state-0000000123-1a2b3c4d.safetensors", "last.safetensors", "state-000000012x.json"}) {
    EXPECT_EQ(step_of_manifest_name(name), -1) << name;
  }
  for (const char* name : {"", "-.", "state-0000000123.json", "state-0000000123-1A2B3C4D.safetensors",
                           "state-0000000123-1a2b3c4.safetensors", "best.safetensors"}) {
    EXPECT_EQ(step_of_state_file_name(name), -1) << name;
  }
}

TEST(ManifestTest, EveryFieldIsChecked) {
  const std::string good = to_json({123, state_file_name(123, 0x1a2b3c4d), 4096, 0x1a2b3c4d});
  const auto expect = [&](const std::string& from, const std::string& to, const char* message) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    try {
      parse_manifest("m", bad);
      ADD_FAILURE() << to;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCheckpoint);
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  };
  expect("{", "[", "not a JSON object");
  expect("\"format\"", "\"form\"", "lacks 'format'");
  expect("residuum training", "other", "format is 'other state'");
  expect(": 1,", ": 2,", "version is 2, this program reads 1");
  expect(": 123,", ": -123,", "'step' is number");
  expect(": 123,", ": 9223372036854775808,", "step 9223372036854775808 is too large");
  expect(": 4096", ": \"4096\"", "'bytes' is string, expected number");
  expect("\"1a2b3c4d\"", "\"1a2b3c4\"", "crc32c is '1a2b3c4', expected 8 hexadecimal digits");
  expect("\"1a2b3c4d\"", "\"1a2b3c4e\"", "expected 'state-0000000123-1a2b3c4e.safetensors'");
  expect("state-0000000123", "../../0000000123", "manifest file is '../../0000000123");
  EXPECT_THROW(parse_manifest("m", good + std::string(kMaxManifestBytes, ' ')), Error);
}

}  // namespace
}  // namespace residuum
