// The command line: parses, hands over to one verb, turns errors into one line and an exit code.
#include <fmt/core.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <csignal>
#include <cstdio>
#include <new>

#include "engine/core/check.h"
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

int run(int argc, char** argv) {
  CommandLine line("residuum", "Residuum: trains deep residual networks.",
                   fmt::format("residuum {}", kVersion), std::string(kExamples) + kExitCodeHelp);
  const Command program = line.program();
  const std::vector<Verb> verbs = {train_verb(program),   eval_verb(program),   predict_verb(program),
                                   summary_verb(program), plan_verb(program),   data_verb(program),
                                   report_verb(program),  bench_verb(program),  lab_verb(program),
                                   launch_verb(program),  version_verb(program)};
  if (const std::optional<int> done = line.parse(argc, argv)) return *done;
  return run_given(verbs);
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
