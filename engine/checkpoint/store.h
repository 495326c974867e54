// The checkpoints of one training run in one directory:
//   last.safetensors, best.safetensors    weights alone, for evaluation and export
//   state-STEP-CRC.safetensors            everything a resume needs
//   state-STEP.json                       its manifest; written last, it makes the state valid
// Invariant: at every moment, also one at which the process is killed, each manifest on disk that was ever
// written names a file that was durable before it, and the newest state is deleted only after a newer one is
// durable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <vector>

#include "engine/checkpoint/safetensors.h"

namespace residuum {

/// What a resume needs, as the caller gives it to be saved.
struct TrainingState {
  int64_t step = 0;                   ///< >= 0; names the state
  nlohmann::json meta;                ///< counters, recipe, ...; not-a-number would come back as null
  std::vector<StoredTensor> tensors;  ///< weights, running statistics, optimizer state
};

/// A state read back; its tensors are those of `file`.
struct LoadedState {
  int64_t step = 0;
  nlohmann::json meta;
  SafetensorsFile file;
};

/// A file of weights alone.
struct WeightsFile {
  std::span<const StoredTensor> tensors;
  SafetensorsMetadata metadata;
};

/// Precondition: one process uses the directory at a time (DirectoryLock of its parent).
class CheckpointStore {
 public:
  /// Creates `directory` (usually OUT/checkpoints). The newest `keep` >= 1 states are kept.
  CheckpointStore(std::filesystem::path directory, size_t keep);

  /// Writes the state, `last` to last.safetensors and `best`, unless it is null, to best.safetensors, then
  /// deletes states beyond `keep` and those of later steps, which a run that went back has left behind.
  /// Throws Error(kIo) with path and bytes when the disk refuses: the states saved before are intact and the
  /// store can go on being used.
  /// On a full disk all states but the newest valid one give way first, with a warning.
  void save(const TrainingState& state, const WeightsFile& last, const WeightsFile* best = nullptr);

  /// Reads the newest valid state, warning of every newer one that is not, and removes what killed saves left
  /// behind. Returns nothing when no state was ever completed; throws Error(kCheckpoint) when there are
  /// states, all invalid.
  std::optional<LoadedState> load_newest();

  /// Steps that have a manifest, valid or not, rising.
  std::vector<int64_t> steps() const;

  std::filesystem::path last_weights() const { return directory_ / "last.safetensors"; }
  std::filesystem::path best_weights() const { return directory_ / "best.safetensors"; }

 private:
  struct Files;
  void write(const Files& files) const;
  bool make_room() const;
  LoadedState load(int64_t step) const;
  void remove_superseded(int64_t newest) const;
  void remove_orphans() const;

  std::filesystem::path directory_;
  size_t keep_;
};

}  // namespace residuum
