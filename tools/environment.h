// environment.json: where, when and with what a run was computed.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/train/trainer.h"

namespace residuum {

/// Writes OUT/environment.json when training starts, that is once OUT belongs to this process. Of a resumed
/// run it describes the latest part.
class EnvironmentObserver final : public TrainObserver {
 public:
  void on_start(const RunInfo& info) override;
};

/// Version, commit, date, command line, host, system, process, `device`, compiler and libraries.
nlohmann::ordered_json environment_of(const std::string& device);

/// The program with its commit, and now: what every page says.
std::vector<std::pair<std::string, std::string>> program_facts();

/// As text; what is not UTF-8 in it, such as a command line, is replaced.
std::string environment_text(const nlohmann::ordered_json& json);

/// The words this process was started with.
std::vector<std::string> process_command_line();

/// Now, in UTC: "2024-05-31T12:34:56Z" for the format "%Y-%m-%dT%H:%M:%SZ" of strftime.
std::string utc_time(const char* format);

}  // namespace residuum
