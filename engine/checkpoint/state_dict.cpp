#include "engine/checkpoint/state_dict.h"

#include <algorithm>
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

// What is wrong with a tensor the file has, or an empty text.
std::string misfit(const ExpectedTensor& expected, const StoredTensor& found) {
  const bool counter = is_batch_counter(expected.name);
  if (!(counter ? is_integer(found.dtype) : is_floating(found.dtype))) {
    return fmt::format("mis-typed {}: found {}, expected {}", expected.name,
                       describe(found.dtype, found.shape),
                       describe(counter ? "integer" : "floating", expected.shape));
  }
  if (found.shape != expected.shape) {
    return fmt::format("mis-shaped {}: found {}, expected {}", expected.name,
                       describe(found.dtype, found.shape), describe(found.dtype, expected.shape));
  }
  return {};
}

}  // namespace

std::vector<const StoredTensor*> match_state_dict(const std::vector<ExpectedTensor>& expected,
                                                  const SafetensorsFile& file, const MatchOptions& options) {
  auto index = index_by_name(file, options.strip_module_prefix);
  const auto is_optional = [&](std::string_view name) {
    return options.optional_num_batches_tracked && is_batch_counter(name);
  };
  std::vector<const StoredTensor*> matched;
  std::vector<std::string> problems;
  for (const ExpectedTensor& tensor : expected) {
    const auto found = index.find(tensor.name);
    if (found == index.end()) {
      matched.push_back(nullptr);
      if (!is_optional(tensor.name)) {
        problems.push_back(
            fmt::format("missing {}: expected [{}]", tensor.name, fmt::join(tensor.shape, ", ")));
      }
      continue;
    }
    matched.push_back(found->second);
    std::string problem = misfit(tensor, *found->second);
    if (!problem.empty()) problems.push_back(std::move(problem));
    index.erase(found);
  }
  for (const StoredTensor& tensor : file.tensors()) {  // in the file's order, not the index's
    const bool left =
        std::any_of(index.begin(), index.end(), [&](const auto& i) { return i.second == &tensor; });
    if (left && !is_optional(tensor.name)) {
      problems.push_back(
          fmt::format("extra {}: found {}", tensor.name, describe(tensor.dtype, tensor.shape)));
    }
  }
  check(problems.empty(), ErrorKind::kCheckpoint, "{} does not fit the model, {} problem{}:\n  {}",
        file.name(), problems.size(), problems.size() == 1 ? "" : "s", fmt::join(problems, "\n  "));
  return matched;
}

}  // namespace residuum
