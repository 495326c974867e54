// An evaluation as JSON: exact counts first, accuracies in [0, 1]; and its error as figures show it.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/train/evaluator.h"

namespace residuum {

inline nlohmann::ordered_json to_json(const Evaluation& evaluation) {
  return {{"samples", evaluation.samples},
          {"top1", evaluation.top1},
          {"top5", evaluation.top5},
          {"top1_accuracy", evaluation.top1_accuracy()},
          {"top5_accuracy", evaluation.top5_accuracy()},
          {"loss", evaluation.loss}};
}

/// Top-1 error in percent, rounded once: 55, not 55.00000000000001.
inline double error_percent(const Evaluation& evaluation) {
  const auto wrong = static_cast<double>(evaluation.samples - evaluation.top1);
  return evaluation.samples == 0 ? 0 : 100 * wrong / static_cast<double>(evaluation.samples);
}

}  // namespace residuum
