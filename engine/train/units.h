// Numbers as people read them: bytes, counts, durations, shares.
#pragma once

#include <cstdint>
#include <string>

namespace residuum {

/// "512 B", "12.3 KiB", "1.5 GiB".
std::string bytes_text(int64_t bytes);

/// Thousands apart: "11,689,512".
std::string count_text(int64_t count);

/// Hours, minutes and seconds, rounded: "0:02:10".
std::string duration_text(double seconds);

/// A part of 1 with two decimals: "91.25 %".
std::string percent_text(double share);

}  // namespace residuum
