// Reading recipes: TOML by toml++, each leaf stored through the table of keys.
#include <fmt/format.h>
#include <algorithm>
#include <optional>
#include <span>

#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/nearest.h"
#include "engine/core/overloaded.h"
#include "engine/train/recipe_keys.h"
#include "engine/train/recipe_toml.h"

namespace residuum {
namespace {

constexpr uint64_t kLargestFile = 1 << 20;

template <typename T>
bool inside(const Range<T>& range, T value) {
  return value >= range.min && value <= range.max;  // false for NaN
}

std::optional<int64_t> read_number(const toml::node& node, const Range<int64_t>& range) {
  const std::optional<int64_t> value = node.value_exact<int64_t>();
  return value && inside(range, *value) ? value : std::nullopt;
}

/// An integer is a number too: "lr = 1".
std::optional<double> read_number(const toml::node& node, const Range<double>& range) {
  if (!node.is_number()) return std::nullopt;
  const std::optional<double> value = node.value<double>();
  return value && inside(range, *value) ? value : std::nullopt;
}

template <typename T>
std::optional<std::vector<T>> read_numbers(const toml::node& node, const Range<T>& range) {
  const toml::array* array = node.as_array();
  if (array == nullptr) return std::nullopt;
  std::vector<T> values;
  for (const toml::node& element : *array) {
    const std::optional<T> value = read_number(element, range);
    if (!value) return std::nullopt;
    values.push_back(*value);
  }
  return values;
}

std::optional<std::vector<std::string>> read_texts(const toml::node& node) {
  const toml::array* array = node.as_array();
  if (array == nullptr) return std::nullopt;
  std::vector<std::string> values;
  for (const toml::node& element : *array) {
    std::optional<std::string> value = element.value_exact<std::string>();
    if (!value) return std::nullopt;
    values.push_back(*std::move(value));
  }
  return values;
}

/// Stores `value` in a member if there is one.
template <typename T>
bool store(T& member, std::optional<T> value) {
  if (value) member = *std::move(value);
  return value.has_value();
}

/// Stores a node; false if it is of the wrong type or not allowed.
bool store(Recipe& recipe, const Field& field, const toml::node& node) {
  return std::visit(
      overloaded{
          [&](const BoolField& f) { return store(f.member.write(recipe), node.value_exact<bool>()); },
          [&](const TextField& f) { return store(f.member.write(recipe), node.value_exact<std::string>()); },
          [&](const IntegerField& f) { return store(f.member.write(recipe), read_number(node, f.range)); },
          [&](const RealField& f) { return store(f.member.write(recipe), read_number(node, f.range)); },
          [&](const IntegersField& f) { return store(f.member.write(recipe), read_numbers(node, f.range)); },
          [&](const RealsField& f) { return store(f.member.write(recipe), read_numbers(node, f.range)); },
          [&](const TextsField& f) { return store(f.member.write(recipe), read_texts(node)); },
          [&](const ChoiceField& f) {
            const auto name = std::find(f.names.begin(), f.names.end(), node.value_exact<std::string>());
            if (name != f.names.end()) f.write(recipe, static_cast<size_t>(name - f.names.begin()));
            return name != f.names.end();
          },
      },
      field);
}

const RecipeKey* find_key(std::string_view path) {
  const auto keys = recipe_keys();
  const auto key = std::find_if(keys.begin(), keys.end(), [&](const RecipeKey& k) { return k.path == path; });
  return key == keys.end() ? nullptr : &*key;
}

/// The key of the same name in another section if there is one, else the one spelled most alike.
std::string nearest_key(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('.') + 1);
  std::vector<std::string> paths;
  for (const RecipeKey& key : recipe_keys()) {
    if (key.name() == name) return std::string(key.path);
    paths.emplace_back(key.path);
  }
  return nearest(path, paths, 1).at(0);
}

/// The node as TOML, for messages: at most 60 bytes of a string, three elements of a list.
std::string found_text(const toml::node& node) {
  if (const toml::array* array = node.as_array()) {
    std::string list;
    for (size_t i = 0; i < std::min(array->size(), size_t{3}); ++i) {
      const toml::node& element = *array->get(i);
      list += (i > 0 ? ", " : "") + (element.is_array() ? "[...]" : found_text(element));
    }
    return fmt::format("[{}{}]", list, array->size() > 3 ? ", ..." : "");
  }
  if (const auto text = node.value_exact<std::string>()) {
    return quote_toml(text->size() > 60 ? text->substr(0, 57) + "..." : *text);
  }
  if (const auto number = node.value_exact<int64_t>()) return std::to_string(*number);
  if (const auto number = node.value_exact<double>()) return fmt::format("{}", *number);
  if (const auto truth = node.value_exact<bool>()) return *truth ? "true" : "false";
  return node.is_table() ? "a table" : "a date or time";
}

void store_or_fail(Recipe& recipe, std::string_view source, std::string_view path, const toml::node& node) {
  const RecipeKey* key = find_key(path);
  check(key != nullptr, ErrorKind::kConfig, "{}: unknown key {}, nearest is {}", source, path,
        nearest_key(path));
  check(store(recipe, key->field, node), ErrorKind::kConfig, "{}: {} is {}, allowed is {}", source, path,
        found_text(node), describe_allowed(key->field));
}

/// The names of all sections, in the order of the keys.
std::vector<std::string_view> sections() {
  std::vector<std::string_view> names;
  for (const RecipeKey& key : recipe_keys()) {
    if (names.empty() || names.back() != key.section()) names.push_back(key.section());
  }
  return names;
}

/// Walks sections and their keys; a key outside of a section is unknown.
void store_file(Recipe& recipe, std::string_view name, const toml::table& file) {
  const std::vector<std::string_view> known = sections();
  for (const auto& [section, node] : file) {
    const auto source = [&name](const toml::node& at) {
      return fmt::format("{}:{}", name, at.source().begin.line);
    };
    if (std::find(known.begin(), known.end(), section.str()) == known.end()) {
      check(!node.is_table(), ErrorKind::kConfig, "{}: unknown section {}, the sections are {}", source(node),
            section.str(), fmt::join(known, ", "));
      store_or_fail(recipe, source(node), section.str(), node);
      continue;
    }
    check(node.is_table(), ErrorKind::kConfig, "{}: {} is {}, allowed is a table", source(node),
          section.str(), found_text(node));
    for (const auto& [key, value] : *node.as_table()) {
      store_or_fail(recipe, source(value), fmt::format("{}.{}", section.str(), key.str()), value);
    }
  }
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// {value = ...} read from TOML `text`, or nothing if it is no single TOML value.
std::optional<toml::table> parse_value(std::string_view text) {
  try {
    toml::table table = parse_toml(fmt::format("value = {}", text), "override");
    if (table.size() == 1) return table;
  } catch (const Error&) {  // no TOML
  }
  return std::nullopt;
}

void store_override(Recipe& recipe, std::string_view text) {
  const std::string source = fmt::format("override '{}'", text);
  const size_t equals = text.find('=');
  check(equals != std::string_view::npos, ErrorKind::kConfig, "{} is not KEY=VALUE", source);
  const std::string_view path = trimmed(text.substr(0, equals));
  const std::string_view raw = trimmed(text.substr(equals + 1));
  std::optional<toml::table> value = parse_value(raw);
  const RecipeKey* key = find_key(path);
  const bool is_path = key != nullptr && std::holds_alternative<TextField>(key->field);
  if (!value || (is_path && !value->at("value").is_string())) value = parse_value(quote_toml(raw));
  check(value.has_value(), ErrorKind::kConfig, "{} is not text that TOML allows", source);
  store_or_fail(recipe, source, path, value->at("value"));
}

}  // namespace

Recipe parse_recipe(std::string_view text, std::string_view name, std::span<const std::string> overrides) {
  Recipe recipe;
  store_file(recipe, name, parse_toml(text, name));
  for (const std::string& text_of_override : overrides) store_override(recipe, text_of_override);
  try {
    check_combinations(recipe);
  } catch (const Error& error) {
    fail(error.kind(), "{}: {}", name, error.what());
  }
  return recipe;
}

Recipe load_recipe(const std::filesystem::path& path, std::span<const std::string> overrides) {
  const InputFile file(path);
  check(file.size() <= kLargestFile, ErrorKind::kConfig, "{} has {} bytes, allowed are up to {}",
        path.string(), file.size(), kLargestFile);
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return parse_recipe(text, path.string(), overrides);
}

}  // namespace residuum
