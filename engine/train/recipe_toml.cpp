#include "engine/train/recipe_toml.h"

#include <charconv>

#include "engine/core/check.h"
#include "engine/core/json.h"

namespace residuum {
namespace {

// toml++ looks up characters outside ASCII in a table of white space that has no answer for many of them. So
// it sees none: bytes above 127, and %, are written %XX before parsing, and back in the strings after.

std::string encode(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 || c == '%') {
      encoded += fmt::format("%{:02X}", byte);
    } else {
      encoded += c;
    }
  }
  return encoded;
}

std::string decode(std::string_view encoded) {
  std::string text;
  for (size_t i = 0; i < encoded.size(); ++i) {
    if (encoded[i] != '%' || i + 2 >= encoded.size()) {
      text += encoded[i];
      continue;
    }
    unsigned char byte = 0;
    std::from_chars(encoded.data() + i + 1, encoded.data() + i + 3, byte, 16);
    text += static_cast<char>(byte);
    i += 2;
  }
  return text;
}

void decode_strings(toml::node& node) {
  if (toml::value<std::string>* text = node.as_string()) *text = decode(text->get());
  if (toml::array* array = node.as_array()) {
    for (toml::node& element : *array) decode_strings(element);
  }
  if (toml::table* table = node.as_table()) {
    for (auto&& [key, value] : *table) decode_strings(value);
  }
}

bool is_utf8(std::string_view text) {
  try {
    json_text(nlohmann::json(text));
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

}  // namespace

toml::table parse_toml(std::string_view text, std::string_view name) {
  check(is_utf8(text), ErrorKind::kConfig, "{} is not UTF-8", name);
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";  // as some editors begin a file
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  for (const char* percent : {"\\u0025", "\\U00000025"}) {
    check(text.find(percent) == std::string_view::npos, ErrorKind::kConfig,
          "{}: the escape {} is not allowed, write % itself", name, percent);
  }
  try {
    toml::table table = toml::parse(encode(text));
    decode_strings(table);
    return table;
  } catch (const toml::parse_error& error) {
    fail(ErrorKind::kConfig, "{}:{}: {}", name, error.source().begin.line, error.description());
  } catch (const std::invalid_argument& error) {
    fail(ErrorKind::kConfig, "{}: {}", name, error.what());
  }
}

}  // namespace residuum
