// The command line as verbs describe it: commands, their options and flags. CLI11 parses; its header, which
// takes as long to compile as a verb, is included by command.cpp alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace residuum {

/// An option of a command; every call changes it and returns it. Values that are not allowed end the parsing
/// with Error(kUsage).
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option& required();
  Option& type_name(const std::string& name);  ///< of its value, in the help
  Option& group(const std::string& title);     ///< in the help
  Option& show_default();                      ///< in the help: the value that the variable has now
  /// Allowed are `low` to `high`, both included.
  template <typename T>
  Option& range(T low, T high) {
    if constexpr (std::is_integral_v<T>) {
      return whole_range(low, high);
    } else {
      return real_range(low, high);
    }
  }
  Option& positive();
  Option& not_negative();
  Option& one_of(const std::vector<std::string>& allowed);
  Option& delimiter(char between);  ///< of the values of a list
  Option& repeatable();             ///< a list whose option is given once for each value
  /// A number of bytes with a unit: 64M is 64 x 2^20 as in nccl-tests, so is 64MiB; 64MB is 64 x 10^6.
  Option& bytes();
  Option& needs(const Option& other);
  Option& excludes(const std::string& other);

 private:
  Option& whole_range(int64_t low, int64_t high);
  Option& real_range(double low, double high);

  CLI::Option* option_;
};

/// A command of the program: a handle, whose commands and options live as long as the CommandLine. Variables
/// that options write must outlive the parsing.
class Command {
 public:
  Command() = default;
  explicit Command(CLI::App* app) : app_(app) {}

  Command add_command(const std::string& name, const std::string& help) const;
  /// `name` is "--long", "-s,--long", or "word" for what is given by its place. T is one of those that
  /// command.cpp instantiates: texts, numbers, lists and optional values of them.
  template <typename T>
  Option add_option(const std::string& name, T& value, const std::string& help) const;
  Option add_flag(const std::string& name, bool& value, const std::string& help) const;
  void footer(const std::string& text) const;  ///< of its help
  void require_command() const;                ///< it cannot be given without one of its commands
  bool parsed() const;                         ///< whether it was given

 private:
  CLI::App* app_ = nullptr;
};

/// A command, and what it does.
struct Verb {
  Command command;
  std::function<int()> run;  ///< after parsing; returns the exit code, or throws Error
};

/// Runs the one of `verbs` that was given. Throws Error(kInternal) when none was.
int run_given(const std::vector<Verb>& verbs);

/// The program's own command line.
class CommandLine {
 public:
  CommandLine(const std::string& name, const std::string& help, const std::string& version,
              const std::string& footer);
  ~CommandLine();

  Command program() const;
  /// The exit code when nothing is left to do, since help or version was asked for and printed. Throws
  /// Error(kUsage), which names the verb and, for a verb or an option that there is not, the nearest.
  std::optional<int> parse(int argc, const char* const* argv);

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace residuum
