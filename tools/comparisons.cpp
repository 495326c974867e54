#include "tools/comparisons.h"

#include <fmt/core.h>

#include <algorithm>

#include "models/published.h"

namespace residuum {
namespace {

ComparisonCase make_case(std::string name, int64_t depth, std::vector<std::string> overrides,
                         std::optional<double> published, bool published_failure = false) {
  overrides.insert(overrides.begin(), fmt::format("model.name=cifar_resnet{}", depth));
  return {std::move(name), std::move(overrides), published, published_failure};
}

}  // namespace

const std::vector<ComparisonBudget>& comparison_budgets() {
  static const std::vector<ComparisonBudget> budgets = {
      {"small", {20, 56}, 20, 200, 64, 1, 2000, 1000},
      {"medium", {20, 32, 44, 56}, 56, 8000, 128, 3, 0, 0},
      {"full", {20, 32, 44, 56, 110}, 110, 64'000, 128, 5, 0, 0},
  };
  return budgets;
}

std::vector<ComparisonCase> degradation_cases(const std::vector<int64_t>& depths) {
  std::vector<ComparisonCase> cases;
  for (const int64_t depth : depths) {
    cases.push_back({fmt::format("plain-{}", depth),
                     {fmt::format("model.name=cifar_plain{}", depth)},
                     std::nullopt,
                     false});
  }
  for (const int64_t depth : depths) {
    // Of plain nets He 2015 shows curves only.
    const auto published = published_error(fmt::format("cifar_resnet{}", depth));
    cases.push_back(make_case(fmt::format("resnet-{}", depth), depth, {},
                              published ? std::optional(published->percent) : std::nullopt));
  }
  return cases;
}

std::vector<ComparisonCase> shortcut_cases(int64_t depth) {
  const auto scaled = [](const char* shortcut, const char* branch) -> std::vector<std::string> {
    return {std::string("model.shortcut_scale=") + shortcut, std::string("model.branch_scale=") + branch};
  };
  const auto gated = [](const char* gate, int bias) -> std::vector<std::string> {
    return {std::string("model.gate=") + gate, fmt::format("model.gate_bias=[{}]", bias)};
  };
  return {
      make_case("original", depth, {}, 6.61),
      make_case("constant scaling 0, 1", depth, scaled("0", "1"), {}, true),
      make_case("constant scaling 0.5, 1", depth, scaled("0.5", "1"), {}, true),
      make_case("constant scaling 0.5, 0.5", depth, scaled("0.5", "0.5"), 12.35),
      make_case("exclusive gating, bias -5", depth, gated("exclusive", -5), {}, true),
      make_case("exclusive gating, bias -6", depth, gated("exclusive", -6), 8.70),
      make_case("exclusive gating, bias -7", depth, gated("exclusive", -7), 9.81),
      make_case("shortcut-only gating, bias 0", depth, gated("shortcut_only", 0), 12.86),
      make_case("shortcut-only gating, bias -6", depth, gated("shortcut_only", -6), 6.91),
      make_case("1x1 conv shortcut", depth, {"model.shortcut=C"}, 12.22),
      make_case("dropout shortcut 0.5", depth, {"model.shortcut_dropout=0.5"}, {}, true),
  };
}

std::vector<ComparisonCase> placement_cases(int64_t depth) {
  struct Row {
    const char *name, *key;
    double at_110, at_164;
  };
  constexpr Row kRows[] = {
      {"original", "original", 6.61, 5.93},
      {"BN after addition", "bn_after_addition", 8.17, 6.50},
      {"ReLU before addition", "relu_before_addition", 7.84, 6.14},
      {"ReLU-only pre-activation", "relu_preactivation", 6.71, 5.91},
      {"full pre-activation", "preactivation", 6.37, 5.46},
  };
  std::vector<ComparisonCase> cases;
  for (const Row& row : kRows) {
    cases.push_back(make_case(row.name, depth, {std::string("model.placement=") + row.key},
                              depth == 164 ? row.at_164 : row.at_110));
  }
  return cases;
}

std::string comparison_recipe(int64_t steps, int64_t batch) {
  const int64_t half = std::max<int64_t>(steps / 2, 1);
  return fmt::format(
      "[train]\nsteps = {}\nbatch = {}\nlog_every = {}\neval_every = {}\n"
      "[optimizer]\nlr = 0.1\nmomentum = 0.9\nweight_decay = 1e-4\n"
      "[schedule]\nkind = 'multistep'\nunit = 'steps'\nmilestones = [{}, {}]\ngamma = 0.1\n"
      "warmup = {}\nwarmup_kind = 'constant'\nwarmup_start_factor = 0.1\n"
      "[data]\naugment = 'pad_crop_flip'\npad = 4\n",
      steps, batch, std::max<int64_t>(steps / 100, 1), 1, half, std::max(half + 1, 3 * steps / 4),
      std::min<int64_t>(400, steps / 10));
}

}  // namespace residuum
