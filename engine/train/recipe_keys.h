// The table of recipe keys: the one place that knows each key's path, place in Recipe, allowed values and
// meaning. Reading, overriding, error texts, help and writing all walk this table.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "engine/train/recipe.h"

namespace residuum {

/// A member of Recipe, made from a generic lambda: [](auto& recipe) -> auto& { return recipe.train.batch; }.
template <typename T>
struct Member {
  const T& (*read)(const Recipe&);
  T& (*write)(Recipe&);

  template <typename F>
  Member(F f) : read(f), write(f) {}  // NOLINT: a member is what its accessor says
};

/// Inclusive.
template <typename T>
struct Range {
  T min, max;
};

struct BoolField {
  Member<bool> member;
};
struct TextField {
  Member<std::string> member;
};
struct IntegerField {
  Member<int64_t> member;
  Range<int64_t> range;
};
struct RealField {
  Member<double> member;
  Range<double> range;
};
struct IntegersField {
  Member<std::vector<int64_t>> member;
  Range<int64_t> range;  ///< of each element
};
struct RealsField {
  Member<std::vector<double>> member;
  Range<double> range;  ///< of each element
};
struct TextsField {
  Member<std::vector<std::string>> member;
};
/// An enumeration by name, made from a generic lambda as a Member is; the names are in the order of its
/// values.
struct ChoiceField {
  std::function<size_t(const Recipe&)> read;
  std::function<void(Recipe&, size_t)> write;
  std::vector<std::string_view> names;

  template <typename F>
  ChoiceField(F f, std::vector<std::string_view> names_in_order)
      : read([f](const Recipe& recipe) { return static_cast<size_t>(f(recipe)); }),
        write(
            [f](Recipe& recipe, size_t i) { f(recipe) = static_cast<std::decay_t<decltype(f(recipe))>>(i); }),
        names(std::move(names_in_order)) {}
};

using Field = std::variant<BoolField, TextField, IntegerField, RealField, IntegersField, RealsField,
                           TextsField, ChoiceField>;

struct RecipeKey {
  std::string_view path;  ///< "train.batch": section and name
  Field field;
  std::string_view help;

  std::string_view section() const { return path.substr(0, path.find('.')); }
  std::string_view name() const { return path.substr(path.find('.') + 1); }
};

/// All keys, those of a section together.
std::span<const RecipeKey> recipe_keys();

/// "integer 1 to 1024", "fp32 or bf16", ...
std::string describe_allowed(const Field& field);

/// The member as a TOML value.
std::string value_text(const Field& field, const Recipe& recipe);

/// `text` as a quoted TOML string.
std::string quote_toml(std::string_view text);

}  // namespace residuum
