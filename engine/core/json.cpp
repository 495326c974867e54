#include "engine/core/json.h"

namespace residuum {

template <typename J>
J parse_json(std::string_view text) {
  return J::parse(text);
}

template <typename J>
J try_parse_json(std::string_view text) {
  return J::parse(text, nullptr, false);
}

template <typename J>
std::string json_text(const J& json, int indent) {
  return json.dump(indent);
}

template <typename J>
std::string lossy_json_text(const J& json, int indent) {
  return json.dump(indent, ' ', false, J::error_handler_t::replace);
}

template nlohmann::json parse_json(std::string_view);
template nlohmann::json try_parse_json(std::string_view);
template std::string json_text(const nlohmann::json&, int);
template std::string lossy_json_text(const nlohmann::json&, int);
template nlohmann::ordered_json parse_json(std::string_view);
template nlohmann::ordered_json try_parse_json(std::string_view);
template std::string json_text(const nlohmann::ordered_json&, int);
template std::string lossy_json_text(const nlohmann::ordered_json&, int);

}  // namespace residuum
