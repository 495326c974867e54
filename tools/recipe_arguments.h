// Recipe keys on the command line: --set key=value and short flags for common keys.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/command.h"

namespace residuum {

/// A flag that stands for one key.
struct KeyFlag {
  const char* flag;
  const char* key;
  const char* help;
};

inline constexpr KeyFlag kModelFlag = {"--model", "model.name", "model.name, for example cifar_resnet20"};
inline constexpr KeyFlag kDataFlag = {"--data", "data.path", "data.path: folder of the data set"};
inline constexpr KeyFlag kPrecisionFlag = {"--precision", "train.precision",
                                           "train.precision: fp32, tf32, bf16 or fp16"};
inline constexpr KeyFlag kThreadsFlag = {"--threads", "train.threads",
                                         "train.threads of the CPU; 0: all cores; changes no result"};

class RecipeArguments {
 public:
  /// Adds `flags`, --disable-pass and --set. Once, and this object must outlive the parsing.
  void add_to(const Command& command, std::vector<KeyFlag> flags);

  /// What was given as KEY=VALUE texts for parse_recipe: flags, then --set.
  /// Throws Error(kUsage) for --epochs together with --steps.
  std::vector<std::string> overrides() const;
  /// The value of a flag, if it was given.
  std::optional<std::string> value(std::string_view flag) const;

 private:
  std::vector<KeyFlag> flags_;
  std::vector<std::optional<std::string>> values_;  ///< one per flag
  std::vector<std::string> disable_passes_, sets_;
};

}  // namespace residuum
