// residuum bench kernels --static: what the compiler made of each kernel.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "engine/backend/cuda/report/kernel_report.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tools/bench_verbs.h"
#include "tools/build_info.h"
#include "tools/environment.h"
#include "tools/exit_codes.h"
#include "tools/output.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json to_json(const cuda::KernelRow& row) {
  const cuda::InstructionMix& loop = row.loop;
  return {{"kernel", row.name},
          {"arch", row.arch},
          {"registers", row.registers},
          {"shared_bytes", row.shared_bytes},
          {"dynamic_shared_bytes", or_null(row.dynamic_shared_bytes)},
          {"stack_bytes", row.stack_bytes},
          {"local_bytes", row.local_bytes},
          {"local_accesses", row.local_accesses},
          {"threads", or_null(row.threads)},
          {"blocks_per_multiprocessor", or_null(row.blocks)},
          {"occupancy", or_null(row.occupancy)},
          {loop.is_loop ? "main_loop" : "whole_kernel",
           {{"instructions", loop.instructions},
            {"hmma", loop.hmma},
            {"ldsm", loop.ldsm},
            {"ldgsts", loop.ldgsts},
            {"ldg", loop.ldg},
            {"lds", loop.lds},
            {"sts", loop.sts},
            {"stg", loop.stg},
            {"bar", loop.bar}}}};
}

Json to_json(const cuda::KernelReport& report, const StaticArguments& arguments) {
  Json json = {{"environment",
                {{"version", kVersion},
                 {"commit", kCommit},
                 {"date", utc_time("%Y-%m-%dT%H:%M:%SZ")},
                 {"compiler", report.compiler},
                 {"binary", std::filesystem::canonical(arguments.binary).filename().string()}}},
               {"kernels", Json::array()}};
  for (const cuda::KernelRow& row : report.rows) json["kernels"].push_back(to_json(row));
  return json;
}

template <typename T>
std::string or_dash(const std::optional<T>& value) {
  return value ? fmt::format("{}", *value) : "-";
}

std::string to_text(const cuda::KernelReport& report) {
  size_t width = 6;
  for (const cuda::KernelRow& row : report.rows) width = std::max(width, row.name.size());
  std::string text =
      fmt::format("{}; counts are of the main loop, *: of the whole kernel\n", report.compiler);
  text += fmt::format(
      "{:<{}} {:<6} {:>4} {:>6} {:>7} {:>5} {:>7} {:>6} {:>4} {:>6} {:>4} {:>4} {:>6} {:>3} {:>3} "
      "{:>3} {:>3} {:>3}\n",
      "kernel", width, "arch", "regs", "shared", "dynamic", "stack", "threads", "blocks", "occ", "instr",
      "HMMA", "LDSM", "LDGSTS", "LDG", "LDS", "STS", "STG", "BAR");
  for (const cuda::KernelRow& row : report.rows) {
    const cuda::InstructionMix& loop = row.loop;
    const std::string occupancy = row.occupancy ? fmt::format("{:.0f}%", 100 * *row.occupancy) : "-";
    const std::string instructions = fmt::format("{}{}", loop.instructions, loop.is_loop ? "" : "*");
    text += fmt::format(
        "{:<{}} {:<6} {:>4} {:>6} {:>7} {:>5} {:>7} {:>6} {:>4} {:>6} {:>4} {:>4} {:>6} {:>3} {:>3} "
        "{:>3} {:>3} {:>3}{}\n",
        row.name, width, row.arch, row.registers, row.shared_bytes, or_dash(row.dynamic_shared_bytes),
        row.stack_bytes + row.local_bytes, or_dash(row.threads), or_dash(row.blocks), occupancy, instructions,
        loop.hmma, loop.ldsm, loop.ldgsts, loop.ldg, loop.lds, loop.sts, loop.stg, loop.bar,
        row.spills() ? "  SPILLS" : "");
  }
  return text;
}

void check_no_spills(const cuda::KernelReport& report) {
  std::string kernels;
  for (const cuda::KernelRow& row : report.rows) {
    if (!row.spills()) continue;
    kernels +=
        fmt::format("{}{} ({}: {} bytes of stack, {} accesses to local memory)", kernels.empty() ? "" : ", ",
                    row.name, row.arch, row.stack_bytes + row.local_bytes, row.local_accesses);
  }
  check(kernels.empty(), ErrorKind::kDevice, "kernels may not use local memory, but these do: {}", kernels);
}

}  // namespace

void add_static_options(const Command& command, StaticArguments& arguments) {
  command
      .add_flag(
          "--static", arguments.asked,
          "Registers, occupancy and main loop of every CUDA kernel, from the machine code, without a GPU")
      .group("Machine code");
  command.add_option("--binary", arguments.binary, "Program, object or library (default: this program)")
      .type_name("FILE")
      .group("Machine code");
  command.add_option("--cuobjdump", arguments.cuobjdump, "NVIDIA's tool (default: looked for)")
      .type_name("FILE")
      .group("Machine code");
  command.add_flag("--check", arguments.check, "Exit with 7 when a kernel spills registers or has a stack")
      .group("Machine code");
}

int report_machine_code(const StaticArguments& arguments, const std::string& json) {
  const cuda::KernelReport report = cuda::kernel_report(arguments.binary, arguments.cuobjdump);
  print_result(to_text(report));
  if (!json.empty()) write_file_atomically(json, json_text(to_json(report, arguments), 2) + "\n");
  if (arguments.check) check_no_spills(report);
  return kExitOk;
}

}  // namespace residuum
