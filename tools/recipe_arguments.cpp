#include "tools/recipe_arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "engine/core/check.h"
#include "engine/train/recipe_keys.h"
#include "tools/device.h"

namespace residuum {
namespace {

/// A path stays right when the run is resumed from another folder.
std::string absolute_path(const std::string& path) {
  return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string();
}

std::string override_text(std::string_view key, const std::string& value) {
  if (key == "data.path" || key == "train.weights")
    return fmt::format("{}={}", key, quote_toml(absolute_path(value)));
  return fmt::format("{}={}", key, value);
}

}  // namespace

void RecipeArguments::add_to(const Command& command, std::vector<KeyFlag> flags) {
  flags_ = std::move(flags);
  values_.resize(flags_.size());
  for (size_t i = 0; i < flags_.size(); ++i) {
    command.add_option(flags_[i].flag, values_[i], flags_[i].help).type_name("VALUE");
  }
  add_disable_pass_option(command, disable_passes_);
  command.add_option("--set", sets_, "Any key of the recipe (train --help-keys); may be repeated")
      .type_name("KEY=VALUE")
      .repeatable();
}

std::vector<std::string> RecipeArguments::overrides() const {
  check(!value("--epochs") || !value("--steps"), ErrorKind::kUsage,
        "--epochs and --steps are both given, allowed is one of them");
  std::vector<std::string> texts;
  for (size_t i = 0; i < flags_.size(); ++i) {
    if (!values_[i]) continue;
    const std::string_view key = flags_[i].key;
    texts.push_back(override_text(key, *values_[i]));
    if (key == "train.epochs") texts.emplace_back("train.steps=0");
    if (key == "train.steps") texts.emplace_back("train.epochs=0");
  }
  if (!disable_passes_.empty()) {
    std::vector<std::string> names;
    for (const std::string& name : disable_passes_) names.push_back(quote_toml(name));
    texts.push_back(fmt::format("train.disable_passes=[{}]", fmt::join(names, ", ")));
  }
  texts.insert(texts.end(), sets_.begin(), sets_.end());
  return texts;
}

std::optional<std::string> RecipeArguments::value(std::string_view flag) const {
  for (size_t i = 0; i < flags_.size(); ++i) {
    if (flags_[i].flag == flag) return values_[i];
  }
  return std::nullopt;
}

}  // namespace residuum
