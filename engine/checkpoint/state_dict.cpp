#include "engine/checkpoint/state_dict.h"

#include <fmt/format.h>
#include <algorithm>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "engine/checkpoint/tensor_values.h"
#include "engine/core/check.h"

namespace residuum {
namespace {

constexpr std::string_view kModulePrefix = "module.";

bool is_batch_counter(std::string_view name) {
  return name.ends_with("num_batches_tracked");
}

std::unordered_map<std::string_view, const StoredTensor*> index_by_name(const SafetensorsFile& file,
                                                                        bool strip) {
  const std::vector<StoredTensor>& tensors = file.tensors();
  strip = strip && std::all_of(tensors.begin(), tensors.end(),
                               [](const StoredTensor& t) { return t.name.starts_with(kModulePrefix); });
  std::unordered_map<std::string_view, const StoredTensor*> index;
  for (const StoredTensor& tensor : tensors) {
    index.emplace(std::string_view(tensor.name).substr(strip ? kModulePrefix.size() : 0), &tensor);
  }
  return index;
}

std::string describe(std::string_view dtype, const std::vector<int64_t>& shape) {
  return fmt::format("{}[{}]", dtype, fmt::join(shape, ", "));
}

struct Problem {
  std::string_view kind;  ///< "missing", "mis-shaped", ...
  std::string tensor;     ///< its name, what was found and what is expected
};

/// What is wrong with a tensor the file has, if anything is.
std::optional<Problem> misfit(const ExpectedTensor& expected, const StoredTensor& found) {
  const bool counter = is_batch_counter(expected.name);
  if (!(counter ? is_integer(found.dtype) : is_floating(found.dtype))) {
    return Problem{"mis-typed",
                   fmt::format("{}: found {}, expected {}", expected.name, describe(found.dtype, found.shape),
                               describe(counter ? "integer" : "floating", expected.shape))};
  }
  if (found.shape != expected.shape) {
    return Problem{"mis-shaped",
                   fmt::format("{}: found {}, expected {}", expected.name, describe(found.dtype, found.shape),
                               describe(found.dtype, expected.shape))};
  }
  return std::nullopt;
}

/// One line, however many there are: "2 missing (first conv1.weight: expected [2]), 1 extra (fc: found
/// F32[4])".
std::string summary(const std::vector<Problem>& problems) {
  std::vector<std::string> parts;
  for (const std::string_view kind : {"missing", "extra", "mis-shaped", "mis-typed"}) {
    const auto is_kind = [&](const Problem& problem) { return problem.kind == kind; };
    const auto count = std::ranges::count_if(problems, is_kind);
    if (count == 0) continue;
    parts.push_back(fmt::format("{} {} ({}{})", count, kind, count == 1 ? "" : "first ",
                                std::ranges::find_if(problems, is_kind)->tensor));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

std::vector<const StoredTensor*> match_state_dict(const std::vector<ExpectedTensor>& expected,
                                                  const SafetensorsFile& file, const MatchOptions& options) {
  auto index = index_by_name(file, options.strip_module_prefix);
  const auto is_optional = [&](std::string_view name) {
    return options.optional_num_batches_tracked && is_batch_counter(name);
  };
  std::vector<const StoredTensor*> matched;
  std::vector<Problem> problems;
  for (const ExpectedTensor& tensor : expected) {
    const auto found = index.find(tensor.name);
    if (found == index.end()) {
      matched.push_back(nullptr);
      if (!is_optional(tensor.name)) {
        problems.push_back(
            {"missing", fmt::format("{}: expected [{}]", tensor.name, fmt::join(tensor.shape, ", "))});
      }
      continue;
    }
    matched.push_back(found->second);
    if (std::optional<Problem> problem = misfit(tensor, *found->second))
      problems.push_back(std::move(*problem));
    index.erase(found);
  }
  for (const StoredTensor& tensor : file.tensors()) {  // in the file's order, not the index's
    const bool left =
        std::any_of(index.begin(), index.end(), [&](const auto& i) { return i.second == &tensor; });
    if (left && !is_optional(tensor.name)) {
      problems.push_back(
          {"extra", fmt::format("{}: found {}", tensor.name, describe(tensor.dtype, tensor.shape))});
    }
  }
  if (problems.empty()) return matched;
  fail(ErrorKind::kCheckpoint, "{} does not fit the model: {}", file.name(), summary(problems));
}

}  // namespace residuum
