// Any bytes are either refused with Error(kConfig) or read as a recipe that is the same after writing and
// reading again; likewise when they are the value of an override.
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/check.h"
#include "engine/train/recipe.h"
#include "engine/train/schedule.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void read(std::string_view text, const std::vector<std::string>& overrides) {
  try {
    const residuum::Recipe recipe = residuum::parse_recipe(text, "fuzz", overrides);
    require(residuum::parse_recipe(residuum::to_toml(recipe), "again") == recipe);
    for (const int64_t step : {0, 1, 1000}) require(residuum::learning_rate(recipe, 10, step) >= 0);
  } catch (const residuum::Error& error) {
    require(error.kind() == residuum::ErrorKind::kConfig);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  read(text, {});
  for (const char* key : {"data.path=", "train.batch=", "schedule.milestones="}) {
    read("model.name = 'resnet18'\ntrain.epochs = 1\n", {key + text});
  }
  return 0;
}
