// toml++ made safe for any input: parse_toml returns a table or throws Error, whatever the bytes. toml++ 3.3
// leaves two kinds of input undefined; the assertions below and the encoding in recipe_toml.cpp keep both
// from it. Include this instead of toml++.
#pragma once

#include <stdexcept>
#include <string_view>

namespace residuum {

/// Stands for assert in toml++. Input such as "[&" is caught by its assertions alone, and undefined without
/// them (marzer/tomlplusplus issue 294), so they throw here, in release builds too.
constexpr void toml_assert(bool condition) {
  if (!condition) throw std::invalid_argument("malformed key or table");
}

}  // namespace residuum

#undef NDEBUG
#define TOML_ASSERT(condition) ::residuum::toml_assert(static_cast<bool>(condition))
#include <toml++/toml.h>

namespace residuum {

/// Parses TOML. Throws Error(kConfig) with `name`, line and reason. Keys with characters outside ASCII, which
/// no recipe has, come back percent-encoded; the escape \u0025 is refused.
toml::table parse_toml(std::string_view text, std::string_view name);

}  // namespace residuum
