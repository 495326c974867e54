// Options from the environment.
#include "tests/emulator/options.h"

#include <charconv>
#include <cstdlib>
#include <stdexcept>
#include <string_view>

namespace residuum::emulator {
namespace {

constexpr const char* kOrder = "RESIDUUM_EMULATOR_ORDER";
constexpr const char* kCopies = "RESIDUUM_EMULATOR_COPIES";
constexpr const char* kChip = "RESIDUUM_EMULATOR_CHIP";

[[noreturn]] void refuse(const char* variable, std::string_view value, const char* allowed) {
  throw std::invalid_argument(std::string(variable) + "=" + std::string(value) + ": must be " + allowed);
}

void read_order(std::string_view value, Options& options) {
  if (value == "forward") {
    options.order = Order::kForward;
  } else if (value == "reverse") {
    options.order = Order::kReverse;
  } else {
    options.order = Order::kRandom;
    const char* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, options.seed);
    if (error != std::errc{} || stop != end) refuse(kOrder, value, "forward, reverse or a seed");
  }
}

void read_copies(std::string_view value, Options& options) {
  if (value == "lazy") {
    options.copies = Copies::kLazy;
  } else if (value == "eager") {
    options.copies = Copies::kEager;
  } else if (value == "random") {
    options.copies = Copies::kRandom;
  } else {
    refuse(kCopies, value, "lazy, eager or random");
  }
}

void read_chip(std::string_view value, Options& options) {
  if (value == "sm_80") {
    options.warpgroups = false;
    options.max_dynamic_shared = 163 * 1024;
  } else if (value != "sm_90a") {
    refuse(kChip, value, "sm_80 or sm_90a");
  }
}

Options from_environment() {
  Options options;
  if (const char* order = std::getenv(kOrder)) read_order(order, options);
  if (const char* copies = std::getenv(kCopies)) read_copies(copies, options);
  if (const char* chip = std::getenv(kChip)) read_chip(chip, options);
  return options;
}

}  // namespace

Options& options() {
  static Options instance = from_environment();
  return instance;
}

}  // namespace residuum::emulator
