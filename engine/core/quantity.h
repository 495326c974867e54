// Quantities with units as people write them: "450GB/s", "400Gb/s", "3.4us", "780TFLOP/s".
#pragma once

#include <functional>
#include <span>
#include <string_view>

namespace residuum {

struct UnitOfMeasure {
  std::string_view name;
  double factor = 1;  ///< times this it is in the unit wanted
};

/// Bytes/s: B/s, KB/s, MB/s, GB/s, TB/s, and Mb/s, Gb/s, Tb/s of bits.
std::span<const UnitOfMeasure> byte_rates();
/// Floating point operations/s: GFLOP/s, TFLOP/s, PFLOP/s.
std::span<const UnitOfMeasure> flop_rates();
/// Seconds: ns, us, ms, s.
std::span<const UnitOfMeasure> times();

/// A number of 0 or more, "inf" too, with one of `units` behind it. Throws Error(kConfig) naming `what`, the
/// value found and the units allowed.
double parse_quantity(std::string_view what, std::string_view text, std::span<const UnitOfMeasure> units);

/// The same for a plain number.
double parse_number(std::string_view what, std::string_view text);
/// A number above 0 and at most 1.
double parse_share(std::string_view what, std::string_view text);

/// Reads "PRESET,key=value,...": hands the first part to `preset` if it has no "=", the others to `key`.
/// `what` stands in errors. Throws Error(kConfig) for a later part without "=", and what the functions throw.
void parse_preset_and_keys(std::string_view what, std::string_view spec,
                           const std::function<void(std::string_view name)>& preset,
                           const std::function<void(std::string_view key, std::string_view value)>& key);

}  // namespace residuum
