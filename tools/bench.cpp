// residuum bench: kernels, steps, data loading and sums over ranks measured, results compared and put into
// tables.
#include "tools/bench_verbs.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <vector>

#include "engine/core/csv.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tools/bench_allreduce.h"
#include "tools/environment.h"
#include "tools/output.h"
#include "tools/page/page.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;

/// What a command prints, without the last newline; empty when it fails.
std::string output_of(const char* command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command, "r"), &pclose);
  if (pipe == nullptr) return {};
  std::string text;
  std::array<char, 256> block{};
  while (std::fgets(block.data(), block.size(), pipe.get()) != nullptr) text += block.data();
  return text.substr(0, text.find('\n'));
}

/// Clocks now and at most, power limit and temperature of the first GPU, as nvidia-smi names them.
Json gpu_state() {
  constexpr const char* kFields =
      "clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu,driver_version";
  const std::string values = output_of(
      "nvidia-smi --query-gpu=clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu,driver_version "
      "--format=csv,noheader 2>/dev/null");
  if (values.empty()) return nullptr;
  return {{"fields", kFields}, {"values", values}};
}

}  // namespace

void add_sampling_options(const Command& command, bench::Sampling& sampling) {
  command.add_option("--samples", sampling.samples, "Timings of each, of which the median counts")
      .range(1, 10000)
      .show_default();
  command.add_option("--warm-up", sampling.warm_up_seconds, "Seconds of work before the first sample")
      .range(0.0, 60.0)
      .show_default();
}

Json bench_environment(const Backend& backend) {
  Json environment = environment_of(backend.describe());
  environment["gpu"] = backend.name() == "cuda" ? gpu_state() : Json(nullptr);
  return environment;
}

void check_can_write_page(const std::string& file) {
  if (file.empty()) return;
  check_chart_library();
  check_can_write(file);
}

void write_report(const std::string& file, const Json& report) {
  if (file == "-") print_result(environment_text(report));
  if (!file.empty() && file != "-") write_file_atomically(file, environment_text(report));
}

void add_csv_option(const Command& command, std::string& file) {
  command.add_option("--csv", file, "Also write the rows here, for spreadsheets").type_name("FILE");
}

void write_rows(const std::string& file, const Json& rows) {
  if (file.empty()) return;
  std::vector<std::string> columns;
  std::vector<std::map<std::string, std::string>> lines;
  const auto add = [&](const std::string& column, const Json& value) {
    if (std::ranges::find(columns, column) == columns.end()) columns.push_back(column);
    if (!value.is_null())
      lines.back()[column] = value.is_string() ? value.get<std::string>() : json_text(value);
  };
  for (const Json& row : rows) {
    lines.emplace_back();
    for (const auto& [key, value] : row.items()) {
      if (!value.is_object()) {
        add(key, value);
        continue;
      }
      for (const auto& [inner, part] : value.items()) add(key + "_" + inner, part);
    }
  }
  std::string text;
  const auto add_line = [&](const auto& field) {
    for (size_t c = 0; c < columns.size(); ++c) text += (c > 0 ? "," : "") + csv_field(field(columns[c]));
    text += '\n';
  };
  add_line([](const std::string& column) { return column; });
  for (auto& line : lines) add_line([&](const std::string& column) { return line[column]; });
  write_file_atomically(file, text);
}

Verb bench_verb(const Command& program) {
  const Command command = program.add_command(
      "bench", "Measure kernels, steps, data loading and sums over ranks; compare results");
  command.require_command();
  const std::vector<Verb> verbs = {bench_kernels_verb(command), bench_step_verb(command),
                                   bench_data_verb(command),    bench_compare_verb(command),
                                   bench_report_verb(command),  allreduce_verb(command)};
  command.footer(
      "Examples:\n"
      "  residuum bench kernels --shapes bench/shapes/resnet50_b256.txt --json kernels.json\n"
      "  residuum bench step --model resnet50 --batch 256 --precision bf16\n"
      "  residuum launch -n 2 -- bench allreduce\n"
      "  residuum bench compare old.json new.json");
  return {command, [verbs] { return run_given(verbs); }};
}

}  // namespace residuum
