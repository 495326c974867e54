// The learning rate as a pure function of the recipe and the step: nothing to save, nothing to resume.
#pragma once

#include <cstdint>

#include "engine/train/recipe.h"

namespace residuum {

/// Steps of the whole run; an epoch has `steps_per_epoch` >= 1. Throws Error(kConfig) if that is not so.
int64_t total_steps(const Recipe& recipe, int64_t steps_per_epoch);

/// Learning rate of `step`, counted from 0. With lr = optimizer.lr, T = total steps, w = warm-up in steps
/// (rounded):
///   warm-up, step < w:  linear    lr * (f + (1 - f) * step / w), f = warmup_start_factor (torch's LinearLR)
///                       constant  lr * f
///   constant            lr
///   step                lr * gamma ^ floor(step / step_size)
///   multistep           lr * gamma ^ (milestones <= step)
///   cosine              min_lr + (lr - min_lr) * (1 + cos(pi * p)) / 2, p = (step - w) / (T - w)
///   poly                min_lr + (lr - min_lr) * (1 - p) ^ power
/// Step sizes and milestones count from the start of the run, warm-up included; a step past T - 1 has p = 1.
/// Precondition: step >= 0 and a recipe that passed check_combinations. Throws as total_steps.
float learning_rate(const Recipe& recipe, int64_t steps_per_epoch, int64_t step);

}  // namespace residuum
