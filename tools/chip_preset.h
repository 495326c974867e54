// Chips by name or by values, for models of speed on the command line.
#pragma once

#include <string>
#include <string_view>

#include "engine/exec/scaling.h"
#include "engine/train/precision.h"

namespace residuum {

struct NamedChip {
  ChipModel model;
  std::string description;  ///< where the ceilings come from
};

/// Reads "h200" or "bytes=3.3TB/s,flops=700TFLOP/s,launch=2us,reached=0.7", or a preset followed by such
/// values. Presets are for products of that precision. Throws Error(kConfig) for a name, key or value that
/// cannot be, and for a precision that a preset has no figure for.
NamedChip parse_chip(std::string_view spec, Precision precision);

std::string describe_chips();

}  // namespace residuum
