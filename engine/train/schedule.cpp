#include "engine/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/core/check.h"

namespace residuum {
namespace {

/// Where `step` stands between the end of the warm-up (0) and the end of the run (1).
double progress(int64_t step, int64_t warmup, int64_t total) {
  if (step >= total) return 1;
  return static_cast<double>(step - warmup) / static_cast<double>(total - warmup);
}

}  // namespace

int64_t total_steps(const Recipe& recipe, int64_t steps_per_epoch) {
  check(steps_per_epoch >= 1, ErrorKind::kConfig, "an epoch has {} steps, allowed is 1 or more",
        steps_per_epoch);
  return recipe.train.steps > 0 ? recipe.train.steps : recipe.train.epochs * steps_per_epoch;
}

float learning_rate(const Recipe& recipe, int64_t steps_per_epoch, int64_t step) {
  const int64_t total = total_steps(recipe, steps_per_epoch);
  const ScheduleRecipe& schedule = recipe.schedule;
  const double lr = recipe.optimizer.lr;
  const int64_t unit = schedule.unit == ScheduleUnit::kEpochs ? steps_per_epoch : 1;
  const int64_t warmup = std::llround(schedule.warmup * static_cast<double>(unit));
  if (step < warmup) {
    const double start = schedule.warmup_start_factor;
    const bool linear = schedule.warmup_kind == WarmupKind::kLinear;
    const double risen = linear ? static_cast<double>(step) / static_cast<double>(warmup) : 0;
    return static_cast<float>(lr * (start + (1 - start) * risen));
  }
  const auto decayed = [&](int64_t times) {
    return lr * std::pow(schedule.gamma, static_cast<double>(times));
  };
  const auto between = [&](double share) { return schedule.min_lr + (lr - schedule.min_lr) * share; };
  const double p = progress(step, warmup, total);
  double rate = lr;
  switch (schedule.kind) {
    case ScheduleKind::kConstant:
      break;
    case ScheduleKind::kStep:
      rate = decayed(step / (schedule.step_size * unit));
      break;
    case ScheduleKind::kMultistep:
      rate = decayed(std::count_if(schedule.milestones.begin(), schedule.milestones.end(),
                                   [&](int64_t milestone) { return milestone * unit <= step; }));
      break;
    case ScheduleKind::kCosine:
      rate = between((1 + std::cos(std::numbers::pi * p)) / 2);
      break;
    case ScheduleKind::kPoly:
      rate = between(std::pow(1 - p, schedule.power));
      break;
  }
  return static_cast<float>(rate);
}

}  // namespace residuum
