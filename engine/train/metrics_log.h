// The numbers of a run as files: metrics.jsonl (one line a write), metrics.csv (the same as a table), and
// TensorBoard events. Invariant: metrics.jsonl is the truth, metrics.csv is derived from it, so that a
// resumed run's files equal an uninterrupted run's apart from wall times.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/core/file.h"
#include "engine/train/event_file.h"

namespace residuum {

/// Name and value of each metric, in the order of the columns.
using Metrics = std::vector<std::pair<std::string, double>>;

/// The lines of a metrics.jsonl, in their order, without incomplete ones such as a kill leaves. Throws
/// Error(kIo).
std::vector<nlohmann::ordered_json> read_metrics(const std::filesystem::path& file);

class MetricsLog {
 public:
  /// Opens the files of `directory`, created if absent. Lines of steps after `resumed_step` are dropped; -1,
  /// for a new run, drops all of them. So are those of `resumed_step` itself with a metric whose name begins
  /// with `redone`, unless that is empty: they will be written again. Throws Error(kIo). Precondition: no
  /// other process writes there (DirectoryLock).
  explicit MetricsLog(std::filesystem::path directory, int64_t resumed_step = -1,
                      std::string_view redone = {});

  /// Appends one line. A value that is not finite is null in JSON and nan in CSV. Names must differ from each
  /// other and from step, epoch, wall_time. A disk that refuses is warned of once and stops nothing: that
  /// line is lost.
  void write(int64_t step, int64_t epoch, const Metrics& metrics);

  /// Makes the lines so far durable: to be called before a training state is saved. Failures are warned of
  /// once.
  void sync();

 private:
  std::filesystem::path json_path() const { return directory_ / "metrics.jsonl"; }
  std::filesystem::path csv_path() const { return directory_ / "metrics.csv"; }
  void drop_lines_after(int64_t step, std::string_view redone);
  void write_csv(const nlohmann::ordered_json& line);
  void rebuild_csv();
  template <typename Action>
  void try_io(Action action);

  std::filesystem::path directory_;
  std::optional<AppendFile> json_;
  std::optional<AppendFile> csv_;  ///< absent after a failed rebuild, until the next one succeeds
  std::optional<EventFile> events_;
  std::vector<std::string> columns_;  ///< of metrics.csv
  bool warned_ = false;
};

}  // namespace residuum
