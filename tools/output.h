// What a verb prints: its result, once, on the standard output stream.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace residuum {

/// Writes `text`. A reader that has gone away is no error; throws Error(kIo) for a disk that is full.
void print_result(std::string_view text);

/// The same for JSON, indented, with a newline.
void print_json(const nlohmann::ordered_json& json);

}  // namespace residuum
