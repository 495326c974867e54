// residuum bench compare and report: two results against each other, and README's tables from results.
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <memory>

#include "bench/results.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "tools/bench_page.h"
#include "tools/bench_verbs.h"
#include "tools/exit_codes.h"
#include "tools/output.h"

namespace residuum {
namespace {

struct CompareArguments {
  std::string before, after;
  double tolerance = 0.02;
};

struct ReportArguments {
  std::string directory, readme = "README.md", html;
  bool check = false;
};

int compare(const CompareArguments& arguments) {
  const auto before = bench::read_report(arguments.before), after = bench::read_report(arguments.after);
  const bench::ResultComparison comparison =
      bench::compare_results(bench::measurements_of(before, arguments.before),
                             bench::measurements_of(after, arguments.after), arguments.tolerance);
  const std::string kind = bench::kind_of(before), other = bench::kind_of(after);
  check(kind == other, ErrorKind::kData, "{} is a report of kind {} and {} of kind {}", arguments.before,
        kind, arguments.after, other);
  check(!comparison.changes.empty(), ErrorKind::kData, "{} and {} measure nothing in common",
        arguments.before, arguments.after);
  print_result(to_text(comparison));
  return comparison.has_regression() ? kExitBenchmark : kExitOk;
}

int report(const ReportArguments& arguments) {
  check(std::filesystem::is_directory(arguments.directory), ErrorKind::kIo, "{} is no folder",
        arguments.directory);
  if (!arguments.html.empty()) {
    check_can_write_page(arguments.html);
    write_results_page(arguments.directory, arguments.html);
    return kExitOk;
  }
  const std::string found = read_text_file(arguments.readme);
  const std::string wanted = bench::with_tables(found, arguments.directory);
  if (arguments.check) {
    const bool same = found == wanted;
    print_result(same ? fmt::format("{}: the tables are those of {}\n", arguments.readme, arguments.directory)
                      : fmt::format("{} differs from {}: residuum bench report {} --readme {}\n",
                                    arguments.readme, arguments.directory, arguments.directory,
                                    arguments.readme));
    return same ? kExitOk : kExitBenchmark;
  }
  if (found != wanted) write_file_atomically(arguments.readme, wanted);
  return kExitOk;
}

}  // namespace

Verb bench_compare_verb(const Command& bench_command) {
  const Command command =
      bench_command.add_command("compare", "What became slower from one result to another");
  const auto arguments = std::make_shared<CompareArguments>();
  command.add_option("old", arguments->before, "JSON of a benchmark").required().type_name("OLD.json");
  command.add_option("new", arguments->after, "JSON of the same benchmark").required().type_name("NEW.json");
  command
      .add_option("--tolerance", arguments->tolerance,
                  "Share that a median may be slower, whatever the spread")
      .range(0.0, 1.0)
      .show_default();
  command.footer(
      "A regression lies beyond the spread of both files (p20 to p80; of peers, all rounds) and beyond the\n"
      "tolerance; then the exit code is 10.\n\n"
      "Example:\n  residuum bench compare old.json new.json");
  return {command, [arguments] { return compare(*arguments); }};
}

Verb bench_report_verb(const Command& bench_command) {
  const Command command = bench_command.add_command("report", "README's tables from the results in a folder");
  const auto arguments = std::make_shared<ReportArguments>();
  command.add_option("directory", arguments->directory, "Folder of JSON files").required().type_name("DIR");
  command.add_option("--readme", arguments->readme, "File with the markers").show_default().type_name("FILE");
  command.add_flag("--check", arguments->check, "Change nothing; exit with 10 when a table differs");
  command.add_option("--html", arguments->html, "Write a page of all results here instead").type_name("FILE");
  command.footer(
      "Rewrites what stands between <!-- bench report: FILE.json --> and <!-- end -->.\n\n"
      "Example:\n  residuum bench report bench/results");
  return {command, [arguments] { return report(*arguments); }};
}

}  // namespace residuum
