// JSON to text and back, for nlohmann::json and nlohmann::ordered_json. The library's parser and serializer
// are compiled here alone: each file that calls them itself takes seconds longer.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace residuum {

/// Throws J::parse_error when `text` is no JSON.
template <typename J = nlohmann::json>
J parse_json(std::string_view text);

/// The same, but a value with is_discarded() when `text` is no JSON.
template <typename J = nlohmann::json>
J try_parse_json(std::string_view text);

/// In one line, or indented by so many spaces. Throws J::type_error when a text in it is not UTF-8.
template <typename J>
std::string json_text(const J& json, int indent = -1);

/// The same, with U+FFFD in place of bytes that are not UTF-8.
template <typename J>
std::string lossy_json_text(const J& json, int indent = -1);

}  // namespace residuum
