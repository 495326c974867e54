// The command line: parses, hands over to one verb, turns errors into one line and an exit code.
#include <fmt/ranges.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <new>

#include "engine/core/nearest.h"
#include "tools/build_info.h"
#include "tools/exit_codes.h"
#include "tools/verbs.h"

namespace residuum {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  residuum train models/recipes/fashion_mnist.toml --data /usr/share/datasets/fashion-mnist\n"
    "  residuum eval --run runs/fashion\n"
    "  residuum summary resnet50\n"
    "  residuum train --help\n\n";

[[noreturn]] void fail_unknown_verb(const CLI::App& program, const std::string& word) {
  std::vector<std::string> verbs;
  for (const CLI::App* command : program.get_subcommands({})) verbs.push_back(command->get_name());
  fail(ErrorKind::kUsage, "there is no verb '{}', nearest is {}; the verbs are {}", word,
       nearest(word, verbs, 1).at(0), fmt::join(verbs, ", "));
}

int run(int argc, char** argv) {
  CLI::App program("Residuum: trains deep residual networks.", "residuum");
  program.require_subcommand(1);
  program.set_version_flag("--version", fmt::format("residuum {}", kVersion), "Print the version and exit");
  program.footer(std::string(kExamples) + kExitCodeHelp);
  const std::array verbs = {train_verb(program),   eval_verb(program),   predict_verb(program),
                            summary_verb(program), plan_verb(program),   data_verb(program),
                            report_verb(program),  bench_verb(program),  lab_verb(program),
                            launch_verb(program),  version_verb(program)};
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // --help
    const auto given = program.get_subcommands();
    if (given.empty() && argc > 1 && argv[1][0] != '-') fail_unknown_verb(program, argv[1]);
    std::string verb;  // with the verbs below it: "lab lesion "
    for (auto words = given; !words.empty(); words = words.front()->get_subcommands()) {
      verb += words.front()->get_name() + " ";
    }
    fail(ErrorKind::kUsage, "{} (see residuum {}--help)", error.what(), verb);
  }
  for (const Verb& verb : verbs) {
    if (verb.command->parsed()) return verb.run();
  }
  fail(ErrorKind::kInternal, "no verb was run");
}

/// Warnings go to the standard error stream, in the form of the errors.
void set_up_warnings() {
  spdlog::set_default_logger(spdlog::stderr_color_mt("residuum"));
  spdlog::set_pattern("residuum: %l: %v");
}

int report(ErrorKind kind, const char* message) {
  std::fflush(stdout);
  std::fprintf(stderr, "residuum: error: %s\n", message);
  return exit_code(kind);
}

}  // namespace
}  // namespace residuum

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away must not end a training run
  try {
    residuum::set_up_warnings();
    return residuum::run(argc, argv);
  } catch (const residuum::Error& error) {
    return residuum::report(error.kind(), error.what());
  } catch (const std::bad_alloc&) {
    return residuum::report(residuum::ErrorKind::kDevice, "the machine has not enough memory for this");
  } catch (const std::exception& error) {
    return residuum::report(residuum::ErrorKind::kInternal, error.what());
  }
}
