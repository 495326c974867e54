// An evaluation as JSON: exact counts first, accuracies in [0, 1].
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

}  // namespace residuum
