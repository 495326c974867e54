// Order of a save: state file, weight files, manifest (each durable before the next begins), then deletions.
// Order of a deletion: manifest, then state file. A kill in between leaves a state file no manifest names: an
// orphan.
#include "engine/checkpoint/store.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "engine/checkpoint/manifest.h"
#include "engine/core/check.h"
#include "engine/core/crc32c.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/core/log.h"

namespace residuum {
namespace fs = std::filesystem;
namespace {

// Metadata key of the state's `meta` in its tensor file.
constexpr const char* kMetaKey = "residuum.meta";

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  check(!error, ErrorKind::kIo, "cannot list directory {}: {}", directory.string(), error.message());
  std::sort(names.begin(), names.end());
  return names;
}

std::string dump_meta(const nlohmann::json& meta) {
  try {
    return json_text(meta);
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::kCheckpoint, "meta data of a training state cannot be stored: {}", error.what());
  }
}

// The manifest on disk, or nothing when it is absent or invalid.
std::optional<StateManifest> try_read_manifest(const fs::path& path) {
  try {
    return parse_manifest(path.string(), read_text_file(path, kMaxManifestBytes));
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

CheckpointStore::CheckpointStore(fs::path directory, size_t keep)
    : directory_(std::move(directory)), keep_(keep) {
  check(keep_ >= 1, ErrorKind::kConfig, "number of training states to keep is 0, expected at least 1");
  make_directories(directory_);
}

/// What a save writes.
struct CheckpointStore::Files {
  const StateManifest& manifest;
  const SafetensorsImage& state;
  const WeightsFile& last;
  const WeightsFile* best;
};

void CheckpointStore::save(const TrainingState& state, const WeightsFile& last, const WeightsFile* best) {
  check(state.step >= 0, ErrorKind::kCheckpoint, "step of a training state is {}, expected at least 0",
        state.step);
  const SafetensorsImage image(state.tensors, {{kMetaKey, dump_meta(state.meta)}});
  StateManifest manifest{state.step, {}, 0, 0};
  for (const std::span<const std::byte> part : image.parts()) {
    manifest.crc32c = crc32c(part, manifest.crc32c);
    manifest.bytes += part.size();
  }
  manifest.file = state_file_name(state.step, manifest.crc32c);

  make_directories(directory_);  // someone may have deleted it during training
  const Files files{manifest, image, last, best};
  try {
    write(files);
  } catch (const DiskFull& error) {
    if (!make_room()) throw;
    log_warning("{}; older training states are deleted to make room", error.what());
    write(files);
  }
  try {
    remove_superseded(state.step);
    remove_orphans();
  } catch (const Error& error) {
    log_warning("the training state of step {} is saved, but an older one could not be deleted: {}",
                state.step, error.what());
  }
}

void CheckpointStore::write(const Files& files) const {
  try {
    write_file_atomically(directory_ / files.manifest.file, files.state.parts());
    if (files.best != nullptr) write_safetensors(best_weights(), files.best->tensors, files.best->metadata);
    write_safetensors(last_weights(), files.last.tensors, files.last.metadata);
    write_file_atomically(directory_ / manifest_name(files.manifest.step), to_json(files.manifest));
  } catch (const Error&) {
    try {
      remove_orphans();
    } catch (const Error& error) {  // which must not hide why the save failed
      log_warning("what a failed save left behind could not be deleted: {}", error.what());
    }
    throw;
  }
}

// Deletes every state but the newest valid one; whether there were others.
bool CheckpointStore::make_room() const {
  const std::vector<int64_t> all = steps();
  const auto is_valid = [this](int64_t step) {
    try {
      load(step);
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  const auto kept = std::find_if(all.rbegin(), all.rend(), is_valid);
  if (kept == all.rend() || all.size() == 1) return false;
  for (const int64_t step : all) {
    if (step != *kept) remove_file(directory_ / manifest_name(step));
  }
  remove_orphans();
  return true;
}

std::optional<LoadedState> CheckpointStore::load_newest() {
  sweep_temporaries(directory_);
  remove_orphans();
  std::vector<int64_t> candidates = steps();
  if (candidates.empty()) return std::nullopt;
  std::string reasons;
  for (auto step = candidates.rbegin(); step != candidates.rend(); ++step) {
    try {
      return load(*step);
    } catch (const Error& error) {
      log_warning("training state of step {} is not usable, trying the one before: {}", *step, error.what());
      reasons += fmt::format("\n  step {}: {}", *step, error.what());
    }
  }
  fail(ErrorKind::kCheckpoint, "none of the {} training states in {} is usable:{}", candidates.size(),
       directory_.string(), reasons);
}

LoadedState CheckpointStore::load(int64_t step) const {
  const fs::path manifest_path = directory_ / manifest_name(step);
  const StateManifest manifest =
      parse_manifest(manifest_path.string(), read_text_file(manifest_path, kMaxManifestBytes));
  check(manifest.step == step, ErrorKind::kCheckpoint, "{}: manifest is of step {}, expected {}",
        manifest_path.string(), manifest.step, step);
  const fs::path path = directory_ / manifest.file;
  const InputFile input(path);
  check(input.size() == manifest.bytes, ErrorKind::kCheckpoint, "{} has {} bytes, expected {}", path.string(),
        input.size(), manifest.bytes);
  std::vector<std::byte> bytes(input.size());
  input.read(0, bytes);
  const uint32_t found = crc32c(bytes);
  check(found == manifest.crc32c, ErrorKind::kCheckpoint, "{} has the checksum {:08x}, expected {:08x}",
        path.string(), found, manifest.crc32c);
  SafetensorsFile file = SafetensorsFile::parse(path.string(), std::move(bytes));
  const auto meta_text = file.metadata().find(kMetaKey);
  check(meta_text != file.metadata().end(), ErrorKind::kCheckpoint, "{} lacks the metadata '{}'",
        path.string(), kMetaKey);
  nlohmann::json meta = try_parse_json(meta_text->second);
  check(!meta.is_discarded(), ErrorKind::kCheckpoint, "{}: metadata '{}' is not JSON", path.string(),
        kMetaKey);
  return {step, std::move(meta), std::move(file)};
}

std::vector<int64_t> CheckpointStore::steps() const {
  std::vector<int64_t> steps;
  for (const std::string& name : names_in(directory_)) {
    const int64_t step = step_of_manifest_name(name);
    if (step >= 0) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

// Deletes manifests only: their tensor files are orphans from then on.
void CheckpointStore::remove_superseded(int64_t newest) const {
  const std::vector<int64_t> all = steps();
  size_t kept = 0;
  for (auto step = all.rbegin(); step != all.rend(); ++step) {
    if (*step > newest) {
      log_warning("deleting the training state of step {}: this run went back and is now at step {}", *step,
                  newest);
      remove_file(directory_ / manifest_name(*step));
    } else if (++kept > keep_) {
      remove_file(directory_ / manifest_name(*step));
    }
  }
}

// Deletes state files without a manifest, or whose step's manifest is valid and names another file. The file
// of a damaged manifest stays: a person may still want to look at it.
void CheckpointStore::remove_orphans() const {
  for (const std::string& name : names_in(directory_)) {
    const int64_t step = step_of_state_file_name(name);
    if (step < 0) continue;
    const fs::path manifest_path = directory_ / manifest_name(step);
    const std::optional<StateManifest> manifest = try_read_manifest(manifest_path);
    std::error_code error;
    const bool is_absent = fs::status(manifest_path, error).type() == fs::file_type::not_found;
    if (manifest ? manifest->file != name : is_absent) remove_file(directory_ / name);
  }
}

}  // namespace residuum
