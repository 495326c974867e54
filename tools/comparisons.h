// The comparisons of the laboratory: which nets He 2015 and He 2016 set side by side, with the errors they
// printed.
#pragma once

#include <string>
#include <vector>

#include "engine/lab/comparison.h"

namespace residuum {

/// How much a comparison trains.
struct ComparisonBudget {
  std::string name;  ///< small: minutes on a few cores; medium: hours on one GPU; full: as in the papers
  std::vector<int64_t> degradation_depths;
  int64_t table_depth = 0;
  int64_t steps = 0, batch = 0, seeds = 0;
  int64_t train_images = 0, test_images = 0;  ///< the first ones; 0: all
};

const std::vector<ComparisonBudget>& comparison_budgets();

/// Plain and residual twins of each depth (He 2015, figure 6 and table 6).
std::vector<ComparisonCase> degradation_cases(const std::vector<int64_t>& depths);
/// The shortcuts of He 2016, table 1, on cifar_resnetN; printed errors are those of depth 110.
std::vector<ComparisonCase> shortcut_cases(int64_t depth);
/// The placements of He 2016, table 2, on cifar_resnetN; printed errors are those of depth 110 or 164.
std::vector<ComparisonCase> placement_cases(int64_t depth);

/// The training of He 2016 for CIFAR, as a recipe's text: SGD with momentum .9, weight decay 1e-4, a learning
/// rate of .1 divided by 10 after half and three quarters of the steps, a tenth of it in the first 400 steps
/// (at most a tenth of all).
std::string comparison_recipe(int64_t steps, int64_t batch);

}  // namespace residuum
