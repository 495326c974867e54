// environment.json: where, when and with what a run was computed.
#pragma once

#include <string>
#include <vector>

#include "engine/train/trainer.h"

namespace residuum {

/// Writes OUT/environment.json when training starts, that is once OUT belongs to this process. Of a resumed
/// run it describes the latest part.
class EnvironmentObserver final : public TrainObserver {
 public:
  explicit EnvironmentObserver(std::vector<std::string> command_line)
      : command_line_(std::move(command_line)) {}
  void on_start(const RunInfo& info) override;

 private:
  std::vector<std::string> command_line_;
};

/// The words this process was started with.
std::vector<std::string> process_command_line();

/// Now, in UTC: "2024-05-31T12:34:56Z" for the format "%Y-%m-%dT%H:%M:%SZ" of strftime.
std::string utc_time(const char* format);

}  // namespace residuum
