// Names of models that hold numbers: "cifar_wrn28_10" is "cifar_wrn" and 28, 10.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace residuum {

/// The `count` numbers after `prefix`, separated by underscores, without leading zeros; nothing if `name` is
/// anything else.
std::optional<std::vector<int64_t>> numbers_after(std::string_view name, std::string_view prefix,
                                                  size_t count);

}  // namespace residuum
