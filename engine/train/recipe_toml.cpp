#include "engine/train/recipe_toml.h"

#include "engine/core/check.h"

namespace residuum {
namespace {

/// Where a byte of TOML stands; strings and comments end at the end of the line at the latest.
enum class Place { kStructure, kComment, kBasicString, kLiteralString };

/// Whether the quote at `at` opens a multi-line string.
bool is_tripled(std::string_view text, size_t at) {
  return at + 2 < text.size() && text[at + 1] == text[at] && text[at + 2] == text[at];
}

/// toml++ asks whether a character outside ASCII is white space by a table in which many have no answer.
/// It asks nothing inside comments and one-line strings.
void check_characters(std::string_view text, std::string_view name) {
  Place place = Place::kStructure;
  int64_t line = 1;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      ++line;
      place = Place::kStructure;
    } else if (place == Place::kBasicString) {
      if (c == '\\' && i + 1 < text.size() && text[i + 1] != '\n') ++i;
      if (c == '"') place = Place::kStructure;
    } else if (place == Place::kLiteralString) {
      if (c == '\'') place = Place::kStructure;
    } else if (place == Place::kStructure) {
      check(static_cast<unsigned char>(c) < 0x80, ErrorKind::kConfig,
            "{}:{}: characters outside ASCII are allowed in strings and comments only", name, line);
      if (c == '#') place = Place::kComment;
      if (c != '"' && c != '\'') continue;
      check(!is_tripled(text, i), ErrorKind::kConfig, "{}:{}: multi-line strings are not allowed", name,
            line);
      place = c == '"' ? Place::kBasicString : Place::kLiteralString;
    }
  }
}

}  // namespace

toml::table parse_toml(std::string_view text, std::string_view name) {
  check_characters(text, name);
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    fail(ErrorKind::kConfig, "{}:{}: {}", name, error.source().begin.line, error.description());
  } catch (const std::invalid_argument& error) {
    fail(ErrorKind::kConfig, "{}: {}", name, error.what());
  }
}

}  // namespace residuum
