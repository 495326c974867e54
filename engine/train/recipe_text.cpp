// Recipes as text: values, allowed values, the help table and the whole recipe as TOML.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "engine/core/overloaded.h"
#include "engine/train/recipe_keys.h"

namespace residuum {
namespace {

/// The shortest decimal that reads back as the same double, with a point or an exponent: never an integer of
/// TOML.
std::string real_text(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

template <typename T, typename ToText>
std::string list_text(const std::vector<T>& values, ToText to_text) {
  std::vector<std::string> texts;
  std::transform(values.begin(), values.end(), std::back_inserter(texts), to_text);
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

template <typename T>
std::string range_text(const Range<T>& range) {
  return fmt::format("{} to {}", range.min, range.max);
}

}  // namespace

std::string quote_toml(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += fmt::format("\\u{:04X}", static_cast<int>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string describe_allowed(const Field& field) {
  return std::visit(
      overloaded{
          [](const BoolField&) -> std::string { return "true or false"; },
          [](const TextField&) -> std::string { return "a string"; },
          [](const IntegerField& f) { return "an integer " + range_text(f.range); },
          [](const RealField& f) { return "a number " + range_text(f.range); },
          [](const IntegersField& f) { return "a list of integers " + range_text(f.range); },
          [](const RealsField& f) { return "a list of numbers " + range_text(f.range); },
          [](const TextsField&) -> std::string { return "a list of strings"; },
          [](const ChoiceField& f) { return fmt::format("one of {}", fmt::join(f.names, ", ")); },
      },
      field);
}

std::string value_text(const Field& field, const Recipe& recipe) {
  const auto integer = [](int64_t value) { return std::to_string(value); };
  return std::visit(
      overloaded{
          [&](const BoolField& f) -> std::string { return f.member.read(recipe) ? "true" : "false"; },
          [&](const TextField& f) { return quote_toml(f.member.read(recipe)); },
          [&](const IntegerField& f) { return integer(f.member.read(recipe)); },
          [&](const RealField& f) { return real_text(f.member.read(recipe)); },
          [&](const IntegersField& f) { return list_text(f.member.read(recipe), integer); },
          [&](const RealsField& f) { return list_text(f.member.read(recipe), real_text); },
          [&](const TextsField& f) { return list_text(f.member.read(recipe), quote_toml); },
          [&](const ChoiceField& f) { return quote_toml(f.names.at(f.read(recipe))); },
      },
      field);
}

std::string to_toml(const Recipe& recipe) {
  std::string text;
  std::string_view section;
  for (const RecipeKey& key : recipe_keys()) {
    if (key.section() != section) {
      section = key.section();
      text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", section);
    }
    text += fmt::format("{} = {}\n", key.name(), value_text(key.field, recipe));
  }
  return text;
}

std::string describe_recipe_keys() {
  const Recipe defaults;
  std::string text;
  for (const RecipeKey& key : recipe_keys()) {
    text += fmt::format("{:<30} {} (default {}): {}\n", key.path, describe_allowed(key.field),
                        value_text(key.field, defaults), key.help);
  }
  return text;
}

}  // namespace residuum
