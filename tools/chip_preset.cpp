#include "tools/chip_preset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <vector>

#include "engine/core/check.h"
#include "engine/core/quantity.h"

namespace residuum {
namespace {

struct ChipPreset {
  std::string_view name;
  double bytes_per_second, flops_16_bit, flops_tf32;
  std::string_view source;
};

// Dense products. The data sheets' rates are peaks: `reached` says which part of them is to be expected.
constexpr std::array kChips = {
    ChipPreset{"h200", 4.8e12, 989e12, 494.5e12, "NVIDIA H200 SXM, peaks of the data sheet"},
    ChipPreset{"h100", 3.35e12, 989e12, 494.5e12, "NVIDIA H100 SXM, peaks of the data sheet"},
    ChipPreset{"a100", 2.039e12, 312e12, 156e12, "NVIDIA A100 80GB SXM, peaks of the data sheet"},
};
/// Of a launch in a replayed CUDA graph, beside its work.
constexpr double kLaunchSeconds = 2.5e-6;

const ChipPreset& preset_named(std::string_view name) {
  const auto found =
      std::find_if(kChips.begin(), kChips.end(), [&](const auto& chip) { return chip.name == name; });
  if (found != kChips.end()) return *found;
  std::vector<std::string_view> names;
  for (const ChipPreset& chip : kChips) names.push_back(chip.name);
  fail(ErrorKind::kConfig, "--chip: there is no chip '{}'; those known are {}, or bytes=RATE,flops=RATE",
       name, fmt::join(names, ", "));
}

double peak_flops(const ChipPreset& chip, Precision precision) {
  switch (precision) {
    case Precision::kBF16:
    case Precision::kF16:
      return chip.flops_16_bit;
    case Precision::kTF32:
      return chip.flops_tf32;
    case Precision::kF32:
      break;
  }
  fail(ErrorKind::kConfig, "--chip: '{}' has no figure for products of fp32; name one with flops=RATE",
       chip.name);
}

void apply_key(ChipModel& model, std::string_view key, std::string_view value) {
  const std::string what = fmt::format("--chip: {}", key);
  if (key == "bytes") {
    model.bytes_per_second = parse_quantity(what, value, byte_rates());
  } else if (key == "flops") {
    model.flops_per_second = parse_quantity(what, value, flop_rates());
  } else if (key == "launch") {
    model.launch_seconds = parse_quantity(what, value, times());
  } else if (key == "reached") {
    model.reached = parse_share(what, value);
  } else {
    fail(ErrorKind::kConfig, "--chip: there is no key '{}'; those known are bytes, flops, launch, reached",
         key);
  }
}

std::string describe(const ChipModel& model) {
  return fmt::format("{:.4g} GB/s, {:.4g} TFLOP/s, {:.4g} us a launch, {:.4g} of both rates reached",
                     model.bytes_per_second / 1e9, model.flops_per_second / 1e12, model.launch_seconds * 1e6,
                     model.reached);
}

}  // namespace

NamedChip parse_chip(std::string_view spec, Precision precision) {
  NamedChip chip;
  chip.model.launch_seconds = kLaunchSeconds;
  const ChipPreset* preset = nullptr;
  bool names_flops = false;
  parse_preset_and_keys(
      "--chip", spec,
      [&](std::string_view name) {
        preset = &preset_named(name);
        chip.model.bytes_per_second = preset->bytes_per_second;
      },
      [&](std::string_view key, std::string_view value) {
        names_flops |= key == "flops";
        apply_key(chip.model, key, value);
      });
  if (preset != nullptr && !names_flops) chip.model.flops_per_second = peak_flops(*preset, precision);
  check(chip.model.bytes_per_second > 0 && chip.model.flops_per_second > 0, ErrorKind::kConfig,
        "--chip: '{}' must name a preset, or bytes=RATE and flops=RATE above 0", spec);
  chip.description = describe(chip.model) + (preset == nullptr ? "" : fmt::format(" ({})", preset->source));
  return chip;
}

std::string describe_chips() {
  std::string text = "Chips: a preset, then keys, parted by commas:\n";
  for (const ChipPreset& chip : kChips) text += fmt::format("  {:<14} {}\n", chip.name, chip.source);
  text += "  bytes          rate of memory: 4.1TB/s\n  flops          rate of products: 700TFLOP/s\n";
  text += "  launch         of a launch beside its work: 2us\n  reached        part of both rates: 0.7\n";
  return text;
}

}  // namespace residuum
