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

/// "2.3026", "nan", and from a million on "1.9263e+21".
std::string loss_text(double loss, int digits = 4);

/// A part of 1 with two decimals: "91.25 %"; "-" for none.
std::string percent_text(double share);

}  // namespace residuum
