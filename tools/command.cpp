#include "tools/command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "engine/core/check.h"
#include "engine/core/nearest.h"

namespace residuum {
namespace {

CLI::Validator bytes_with_unit() {
  constexpr auto kKibi = int64_t{1} << 10, kMebi = int64_t{1} << 20, kGibi = int64_t{1} << 30;
  const std::map<std::string, int64_t> units = {
      {"b", 1},       {"k", kKibi},   {"m", kMebi},  {"g", kGibi},      {"kib", kKibi},
      {"mib", kMebi}, {"gib", kGibi}, {"kb", 1'000}, {"mb", 1'000'000}, {"gb", 1'000'000'000}};
  CLI::AsNumberWithUnit validator(units);
  validator.description("");
  return validator;
}

/// CLI11's own checks of this kind print the largest double, in 309 digits.
CLI::Validator number_from(const std::string& name, const std::string& allowed, bool (*is_allowed)(double)) {
  const auto check = [=](const std::string& text) {
    double value = 0;
    const bool right = CLI::detail::lexical_cast(text, value) && is_allowed(value);
    return right ? std::string() : fmt::format("is {}, allowed is a number {}", text, allowed);
  };
  return {check, name};
}

/// The command given, the innermost one: of "residuum lab lesion --run a" that of "lab lesion".
struct Given {
  const CLI::App* app;
  std::string path;  ///< "residuum lab lesion"
  int words = 0;     ///< behind the program's name
};

Given given_command(const CLI::App& program) {
  Given given{&program, program.get_name()};
  for (auto below = program.get_subcommands(); !below.empty(); below = given.app->get_subcommands()) {
    given = {below.front(), given.path + " " + below.front()->get_name(), given.words + 1};
  }
  return given;
}

/// When a command was wanted after the given one: the word that stands there is none, or there is no word.
void check_verb(const Given& given, int argc, const char* const* argv) {
  std::vector<std::string> verbs;
  for (const CLI::App* command : given.app->get_subcommands({})) verbs.push_back(command->get_name());
  const int place = 1 + given.words;
  if (verbs.empty() || (place < argc && argv[place][0] == '-')) return;
  check(place < argc, ErrorKind::kUsage, "{} wants one of its verbs: {} (see {} --help)", given.path,
        fmt::join(verbs, ", "), given.path);
  fail(ErrorKind::kUsage, "there is no verb '{}', nearest is {}; the verbs of {} are {}", argv[place],
       nearest(argv[place], verbs, 1).at(0), given.path, fmt::join(verbs, ", "));
}

/// When an option was given that there is not. "--batch=3" stands for "--batch".
void check_options(const Given& given, const std::vector<std::string>& unexpected) {
  const auto option = std::find_if(unexpected.begin(), unexpected.end(),
                                   [](const std::string& word) { return word.starts_with("--"); });
  if (option == unexpected.end()) return;
  std::vector<std::string> known;
  for (const CLI::Option* candidate : given.app->get_options()) {
    for (const std::string& name : candidate->get_lnames()) known.push_back("--" + name);
  }
  const std::string word = option->substr(0, option->find('='));
  fail(ErrorKind::kUsage, "there is no option '{}', nearest is {} (see {} --help)", word,
       nearest(word, known, 1).at(0), given.path);
}

}  // namespace

Option& Option::required() {
  option_->required();
  return *this;
}

Option& Option::type_name(const std::string& name) {
  option_->type_name(name);
  return *this;
}

Option& Option::group(const std::string& title) {
  option_->group(title);
  return *this;
}

Option& Option::show_default() {
  option_->capture_default_str();
  return *this;
}

Option& Option::whole_range(int64_t low, int64_t high) {
  option_->check(CLI::Range(low, high));
  return *this;
}

Option& Option::real_range(double low, double high) {
  option_->check(CLI::Range(low, high));
  return *this;
}

Option& Option::positive() {
  option_->check(number_from("POSITIVE", "above 0", [](double value) { return value > 0; }));
  return *this;
}

Option& Option::not_negative() {
  option_->check(number_from("NONNEGATIVE", "0 or above", [](double value) { return value >= 0; }));
  return *this;
}

Option& Option::one_of(const std::vector<std::string>& allowed) {
  option_->check(CLI::IsMember(allowed));
  return *this;
}

Option& Option::delimiter(char between) {
  option_->delimiter(between);
  return *this;
}

Option& Option::repeatable() {
  option_->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  return *this;
}

Option& Option::bytes() {
  option_->transform(bytes_with_unit());
  return *this;
}

Option& Option::needs(const Option& other) {
  option_->needs(other.option_);
  return *this;
}

Option& Option::excludes(const std::string& other) {
  option_->excludes(other);
  return *this;
}

Command Command::add_command(const std::string& name, const std::string& help) const {
  return Command(app_->add_subcommand(name, help));
}

template <typename T>
Option Command::add_option(const std::string& name, T& value, const std::string& help) const {
  return Option(app_->add_option(name, value, help));
}
template Option Command::add_option(const std::string&, std::string&, const std::string&) const;
template Option Command::add_option(const std::string&, int&, const std::string&) const;
template Option Command::add_option(const std::string&, int64_t&, const std::string&) const;
template Option Command::add_option(const std::string&, uint64_t&, const std::string&) const;
template Option Command::add_option(const std::string&, double&, const std::string&) const;
template Option Command::add_option(const std::string&, std::optional<std::string>&,
                                    const std::string&) const;
template Option Command::add_option(const std::string&, std::optional<int>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::vector<std::string>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::vector<int>&, const std::string&) const;
template Option Command::add_option(const std::string&, std::vector<int64_t>&, const std::string&) const;

Option Command::add_flag(const std::string& name, bool& value, const std::string& help) const {
  return Option(app_->add_flag(name, value, help));
}

void Command::footer(const std::string& text) const {
  app_->footer(text);
}

void Command::require_command() const {
  app_->require_subcommand(1);
}

bool Command::parsed() const {
  return app_->parsed();
}

int run_given(const std::vector<Verb>& verbs) {
  for (const Verb& verb : verbs) {
    if (verb.command.parsed()) return verb.run();
  }
  fail(ErrorKind::kInternal, "no verb was run");
}

CommandLine::CommandLine(const std::string& name, const std::string& help, const std::string& version,
                         const std::string& footer)
    : app_(std::make_unique<CLI::App>(help, name)) {
  app_->require_subcommand(1);
  app_->set_version_flag("--version", version, "Print the version and exit");
  app_->footer(footer);
}

CommandLine::~CommandLine() = default;

Command CommandLine::program() const {
  return Command(app_.get());
}

std::optional<int> CommandLine::parse(int argc, const char* const* argv) try {
  app_->parse(argc, argv);
  return std::nullopt;
} catch (const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app_->exit(error);  // --help
  const Given given = given_command(*app_);
  check_verb(given, argc, argv);
  check_options(given, app_->remaining(true));
  fail(ErrorKind::kUsage, "{} (see {} --help)", error.what(), given.path);
}

}  // namespace residuum
