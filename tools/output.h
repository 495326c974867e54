// What a verb prints: its result, once, on the standard output stream.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace residuum {

/// Writes `text`. A reader that has gone away is no error; throws Error(kIo) for a disk that is full.
void print_result(std::string_view text);

/// The same for JSON, indented, with a newline.
void print_json(const nlohmann::ordered_json& json);

/// Before hours of work: throws Error(kIo) when the folder of `file` is not there or cannot be written to; an
/// empty name and "-" are no files.
void check_can_write(const std::string& file);

}  // namespace residuum
