// Suggestions for names that are not known: the known ones at the smallest edit distance.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace residuum {

/// Levenshtein distance: the insertions, deletions and replacements of single bytes that turn `a` into `b`.
size_t edit_distance(std::string_view a, std::string_view b);

/// The `count` (or all, if fewer) names of `known` nearest to `word`, nearest first, ties in the order given.
std::vector<std::string> nearest(std::string_view word, std::span<const std::string> known, size_t count);

}  // namespace residuum
