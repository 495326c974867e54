// The subcommands of residuum bench, and what they share.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "bench/harness.h"
#include "tools/command.h"

namespace residuum {

Verb bench_kernels_verb(const Command& bench);
Verb bench_step_verb(const Command& bench);
Verb bench_data_verb(const Command& bench);
Verb bench_compare_verb(const Command& bench);
Verb bench_report_verb(const Command& bench);

/// bench kernels --static.
struct StaticArguments {
  std::string binary = "/proc/self/exe", cuobjdump;
  bool asked = false, check = false;
};
void add_static_options(const Command& command, StaticArguments& arguments);
/// `json`: a file for the report, or empty.
int report_machine_code(const StaticArguments& arguments, const std::string& json);

/// --samples and --warm-up.
void add_sampling_options(const Command& command, bench::Sampling& sampling);

/// environment_of a device and, when that is a GPU, what nvidia-smi says of its clocks and limits.
nlohmann::ordered_json bench_environment(const Backend& backend);

/// check_can_write (output.h) for a page; throws Error(kConfig) when this build writes none.
void check_can_write_page(const std::string& file);

/// Writes a report: to a file, or for "-" to the standard output; nothing for an empty name.
void write_report(const std::string& file, const nlohmann::ordered_json& report);

/// --csv FILE, for the rows of a report.
void add_csv_option(const Command& command, std::string& file);
/// The objects of a list as lines of a CSV file below their keys; what is an object in them has a column for
/// each of its keys, "replay_us_median". Nothing for an empty name.
void write_rows(const std::string& file, const nlohmann::ordered_json& rows);

}  // namespace residuum
