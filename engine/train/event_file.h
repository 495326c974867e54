// TensorBoard event files: records framed by masked CRC-32C (tensorflow/core/lib/io/record_writer.h) around
// Event protobuf messages (tensorflow/core/util/event.proto), encoded by hand since three small messages are
// all we need.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "engine/core/file.h"

namespace residuum {

/// Appends scalars to a new event file in a directory; the name is unique, so every run and resume has a file
/// of its own.
class EventFile {
 public:
  /// Creates "events.out.tfevents.SECONDS.HOST.PID.NUMBER" in `directory`; throws Error(kIo).
  explicit EventFile(const std::filesystem::path& directory);

  /// Tells readers to forget what earlier files of the directory hold from `step` on: the run resumes there.
  void restart_at(int64_t step, double wall_time);
  /// `wall_time`: seconds since 1970. Throws Error(kIo); the file then ends with its last whole record.
  void add_scalar(std::string_view tag, double value, int64_t step, double wall_time);
  void sync() { file_.sync(); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  AppendFile file_;
};

/// One record as it stands in the file: length, masked checksum of it, data, masked checksum of the data.
std::string event_record(std::string_view data);

}  // namespace residuum
