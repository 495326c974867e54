#include "engine/train/precision.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "engine/core/check.h"

namespace residuum {

std::string_view to_string(Precision precision) {
  return kPrecisionNames.at(static_cast<size_t>(precision));
}

Precision precision_named(std::string_view name) {
  const auto found = std::find(kPrecisionNames.begin(), kPrecisionNames.end(), name);
  check(found != kPrecisionNames.end(), ErrorKind::kUsage, "precision is '{}', allowed are {}", name,
        fmt::join(kPrecisionNames, ", "));
  return static_cast<Precision>(found - kPrecisionNames.begin());
}

DType activation_type(Precision precision) {
  switch (precision) {
    case Precision::kF32:
    case Precision::kTF32:
      return DType::kF32;
    case Precision::kBF16:
      return DType::kBF16;
    case Precision::kF16:
      return DType::kF16;
  }
  fail(ErrorKind::kInternal, "unknown precision {}", static_cast<int>(precision));
}

double loss_scale(Precision precision, double asked) {
  if (asked > 0) return asked;
  return precision == Precision::kF16 ? 1024 : 1;
}

}  // namespace residuum
