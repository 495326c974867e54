#include "engine/core/quantity.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "engine/core/check.h"

namespace residuum {
namespace {

constexpr std::array kByteRates = {UnitOfMeasure{"B/s", 1},        UnitOfMeasure{"KB/s", 1e3},
                                   UnitOfMeasure{"MB/s", 1e6},     UnitOfMeasure{"GB/s", 1e9},
                                   UnitOfMeasure{"TB/s", 1e12},    UnitOfMeasure{"Mb/s", 1e6 / 8},
                                   UnitOfMeasure{"Gb/s", 1e9 / 8}, UnitOfMeasure{"Tb/s", 1e12 / 8}};
constexpr std::array kFlopRates = {UnitOfMeasure{"GFLOP/s", 1e9}, UnitOfMeasure{"TFLOP/s", 1e12},
                                   UnitOfMeasure{"PFLOP/s", 1e15}};
constexpr std::array kTimes = {UnitOfMeasure{"ns", 1e-9}, UnitOfMeasure{"us", 1e-6},
                               UnitOfMeasure{"ms", 1e-3}, UnitOfMeasure{"s", 1}};

/// The number that `text` begins with, and what follows it.
std::pair<double, std::string_view> leading_number(std::string_view what, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && value >= 0, ErrorKind::kConfig,
        "{} is '{}', but must be a number of 0 or more", what, text);
  return {value, text.substr(static_cast<size_t>(end - text.data()))};
}

}  // namespace

std::span<const UnitOfMeasure> byte_rates() {
  return kByteRates;
}

std::span<const UnitOfMeasure> flop_rates() {
  return kFlopRates;
}

std::span<const UnitOfMeasure> times() {
  return kTimes;
}

double parse_quantity(std::string_view what, std::string_view text, std::span<const UnitOfMeasure> units) {
  const auto [value, unit] = leading_number(what, text);
  for (const UnitOfMeasure& known : units) {
    if (unit == known.name) return value * known.factor;
  }
  std::vector<std::string_view> names;
  for (const UnitOfMeasure& known : units) names.push_back(known.name);
  fail(ErrorKind::kConfig, "{} is '{}', but its unit must be one of {}", what, text, fmt::join(names, ", "));
}

double parse_number(std::string_view what, std::string_view text) {
  const auto [value, rest] = leading_number(what, text);
  check(rest.empty(), ErrorKind::kConfig, "{} is '{}', but must be a number of 0 or more", what, text);
  return value;
}

double parse_share(std::string_view what, std::string_view text) {
  const double value = parse_number(what, text);
  check(value > 0 && value <= 1, ErrorKind::kConfig, "{} is '{}', but must be above 0 and at most 1", what,
        text);
  return value;
}

void parse_preset_and_keys(std::string_view what, std::string_view spec,
                           const std::function<void(std::string_view name)>& preset,
                           const std::function<void(std::string_view key, std::string_view value)>& key) {
  for (size_t begin = 0; begin <= spec.size();) {
    const size_t end = std::min(spec.find(',', begin), spec.size());
    const std::string_view part = spec.substr(begin, end - begin);
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      check(begin == 0, ErrorKind::kConfig, "{}: '{}' is no key=value, and only the first may be a preset",
            what, part);
      preset(part);
    } else {
      key(part.substr(0, equals), part.substr(equals + 1));
    }
    begin = end + 1;
  }
}

}  // namespace residuum
