// residuum report: the page of a training run, or of several beside each other.
#include <fmt/core.h>

#include <filesystem>
#include <memory>

#include "engine/core/check.h"
#include "tools/exit_codes.h"
#include "tools/output.h"
#include "tools/run_page.h"
#include "tools/verbs.h"

namespace residuum {
namespace {

struct ReportArguments {
  std::vector<std::string> runs;
  std::string out, csv, png;
  bool json = false;
};

int write_report(const ReportArguments& arguments) {
  check(arguments.runs.size() == 1 || !arguments.out.empty(), ErrorKind::kUsage,
        "a report of several runs needs --out FILE.html");
  const std::filesystem::path out = arguments.out.empty()
                                        ? std::filesystem::path(arguments.runs.front()) / "report.html"
                                        : std::filesystem::path(arguments.out);
  if (!arguments.png.empty()) check_can_draw();
  const std::vector<RunRecord> runs = read_runs(arguments.runs);
  const Page page = run_page(runs);
  if (!arguments.csv.empty()) page.write_csv(arguments.csv);
  page.write(out);
  if (!arguments.png.empty()) page.write_png(arguments.png);
  if (arguments.json) {
    print_json({{"page", out.string()}, {"runs", run_results(runs)}});
  } else {
    print_result(fmt::format("{}\n", out.string()));
  }
  return kExitOk;
}

}  // namespace

Verb report_verb(const Command& program) {
  const Command command =
      program.add_command("report", "HTML page of a training run, or of several compared");
  const auto arguments = std::make_shared<ReportArguments>();
  command.add_option("runs", arguments->runs, "Directories of runs").type_name("RUN...").required();
  command.add_option("--out", arguments->out, "The page; default RUN/report.html").type_name("FILE");
  command.add_option("--csv", arguments->csv, "Also write each figure and table here as CSV")
      .type_name("DIR");
  command.add_option("--png", arguments->png, "Also write each figure here as PNG; needs Chromium")
      .type_name("DIR");
  command.add_flag("--json", arguments->json, "Print the results for programs");
  command.footer(
      "The page holds everything it needs and opens from a file, without a network. Its figures can be saved "
      "as\n"
      "CSV, PNG and SVG. train writes it at the end of a run. --png wants Chromium on PATH, or its name in\n"
      "RESIDUUM_CHROMIUM.\n\n"
      "Examples:\n"
      "  residuum report runs/a\n"
      "  residuum report runs/a runs/b --out comparison.html --csv comparison");
  return {command, [arguments] { return write_report(*arguments); }};
}

}  // namespace residuum
