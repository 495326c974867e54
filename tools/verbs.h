// The verbs of the program: each adds its command to the parser and says what to do when it was given.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace residuum {

struct Verb {
  CLI::App* command = nullptr;
  std::function<int()> run;  ///< after parsing; returns the exit code, or throws Error
};

Verb train_verb(CLI::App& program);
Verb eval_verb(CLI::App& program);
Verb predict_verb(CLI::App& program);
Verb summary_verb(CLI::App& program);
Verb plan_verb(CLI::App& program);
Verb data_verb(CLI::App& program);
Verb report_verb(CLI::App& program);
Verb bench_verb(CLI::App& program);
Verb lab_verb(CLI::App& program);
Verb launch_verb(CLI::App& program);
Verb version_verb(CLI::App& program);

}  // namespace residuum
