// residuum bench: what speed depends on. bench kernels --static reports what the compiler made of each
// kernel; bench allreduce is in a file of its own.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "engine/backend/cuda/kernel_report.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "tools/bench_allreduce.h"
#include "tools/build_info.h"
#include "tools/environment.h"
#include "tools/exit_codes.h"
#include "tools/output.h"
#include "tools/verbs.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;

struct KernelsArguments {
  std::string binary = "/proc/self/exe", cuobjdump, json;
  bool is_static = false, check = false;
};

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

Json to_json(const cuda::KernelReport& report, const KernelsArguments& arguments) {
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

int report_kernels(const KernelsArguments& arguments) {
  const cuda::KernelReport report = cuda::kernel_report(arguments.binary, arguments.cuobjdump);
  print_result(to_text(report));
  if (!arguments.json.empty()) {
    write_file_atomically(arguments.json, to_json(report, arguments).dump(2) + "\n");
  }
  if (arguments.check) check_no_spills(report);
  return kExitOk;
}

}  // namespace

Verb bench_verb(CLI::App& program) {
  CLI::App* command = program.add_subcommand("bench", "What speed depends on: kernels, sums over ranks");
  command->require_subcommand(1);
  CLI::App* kernels =
      command->add_subcommand("kernels", "Registers, occupancy and main loop of every CUDA kernel");
  const auto arguments = std::make_shared<KernelsArguments>();
  kernels->add_flag("--static", arguments->is_static, "From the machine code, without a GPU")->required();
  kernels->add_option("--json", arguments->json, "Also write the report here")->type_name("FILE");
  kernels->add_option("--binary", arguments->binary, "Program, object or library (default: this program)")
      ->type_name("FILE");
  kernels->add_option("--cuobjdump", arguments->cuobjdump, "NVIDIA's tool (default: looked for)")
      ->type_name("FILE");
  kernels->add_flag("--check", arguments->check, "Exit with 7 when a kernel spills registers or has a stack");
  kernels->footer(
      "Wants cuobjdump and nvdisasm: part of the CUDA toolkit, or of PyPI's\n"
      "nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm.\n\n"
      "Examples:\n"
      "  residuum bench kernels --static\n"
      "  residuum bench kernels --static --check --json kernels.json");
  const Verb allreduce = allreduce_verb(*command);
  command->footer("Examples:\n  residuum bench kernels --static\n  residuum launch -n 2 -- bench allreduce");
  return {command, [arguments, allreduce] {
            return allreduce.command->parsed() ? allreduce.run() : report_kernels(*arguments);
          }};
}

}  // namespace residuum
