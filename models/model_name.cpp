#include "models/model_name.h"

#include <charconv>

namespace residuum {

std::optional<std::vector<int64_t>> numbers_after(std::string_view name, std::string_view prefix,
                                                  size_t count) {
  if (!name.starts_with(prefix)) return std::nullopt;
  std::string_view rest = name.substr(prefix.size());
  std::vector<int64_t> numbers;
  while (numbers.size() < count) {
    if (!numbers.empty()) {
      if (!rest.starts_with('_')) return std::nullopt;
      rest.remove_prefix(1);
    }
    if (rest.empty() || rest.front() < '1' || rest.front() > '9') return std::nullopt;
    int64_t number = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error != std::errc()) return std::nullopt;
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    numbers.push_back(number);
  }
  return rest.empty() ? std::optional(numbers) : std::nullopt;
}

}  // namespace residuum
