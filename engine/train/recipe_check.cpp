// Combinations of recipe values that cannot be, although each is in its range.
#include <algorithm>
#include <functional>
#include <utility>

#include "engine/core/check.h"
#include "engine/train/recipe.h"

namespace residuum {
namespace {

void check_model(const ModelRecipe& model) {
  const std::pair<const char*, const std::vector<double>&> lists[] = {{"gate_bias", model.gate_bias},
                                                                      {"dropout", model.dropout}};
  for (const auto& [key, values] : lists) {
    check(values.size() <= 1, ErrorKind::kConfig, "model.{} has {} values, allowed is one, or none", key,
          values.size());
  }
}

void check_train(const TrainRecipe& train) {
  check((train.epochs > 0) != (train.steps > 0), ErrorKind::kConfig,
        "train.epochs is {} and train.steps is {}: exactly one must be above 0", train.epochs, train.steps);
  check(train.batch % train.accumulation == 0, ErrorKind::kConfig,
        "train.accumulation is {}, allowed are divisors of train.batch, which is {}", train.accumulation,
        train.batch);
  const int64_t shards = train.virtual_shards;
  check((shards & (shards - 1)) == 0 && (shards == 0 || train.batch % shards == 0), ErrorKind::kConfig,
        "train.virtual_shards is {}, allowed are 0 and powers of two that divide train.batch, which is {}: "
        "parts "
        "are added in pairs, so that each rank holds one branch of the same tree",
        shards, train.batch);
  check(shards == 0 || train.accumulation == 1, ErrorKind::kConfig,
        "train.accumulation is {}, allowed is 1 with train.virtual_shards: each shard is a micro-step",
        train.accumulation);
  check(!train.sync_batch_norm || (shards == 0 && !train.gram_batch_norm), ErrorKind::kConfig,
        "train.sync_batch_norm is true, allowed is false with train.virtual_shards or train.gram_batch_norm");
}

void check_data(const DataRecipe& data) {
  check(data.mean.size() == data.std.size(), ErrorKind::kConfig,
        "data.mean has {} values and data.std has {}: both need one per channel, or none", data.mean.size(),
        data.std.size());
  check(data.augment_on == AugmentPlace::kHost || data.augment == Augment::kPadCropFlip, ErrorKind::kConfig,
        "data.augment_on is device: allowed is host unless data.augment is pad_crop_flip");
  const bool resized = data.augment == Augment::kRandomResizedCrop;
  check((data.image_size > 0) == resized, ErrorKind::kConfig,
        "data.image_size is {}: it must be above 0 with data.augment = random_resized_crop, and 0 otherwise",
        data.image_size);
  check(data.min_scale <= data.max_scale, ErrorKind::kConfig,
        "data.min_scale is {}, allowed is up to data.max_scale, which is {}", data.min_scale, data.max_scale);
  check(data.min_ratio <= data.max_ratio, ErrorKind::kConfig,
        "data.min_ratio is {}, allowed is up to data.max_ratio, which is {}", data.min_ratio, data.max_ratio);
  check(data.eval_resize > 0 || data.eval_crop == 0, ErrorKind::kConfig,
        "data.eval_crop is {}, allowed is 0 with data.eval_resize = 0", data.eval_crop);
  const int64_t crop = data.eval_crop > 0 ? data.eval_crop : data.image_size;
  check(data.eval_resize == 0 || (crop >= 1 && crop <= data.eval_resize), ErrorKind::kConfig,
        "{} is {}, allowed is 1 to data.eval_resize, which is {}",
        data.eval_crop > 0 ? "data.eval_crop" : "data.image_size in place of data.eval_crop", crop,
        data.eval_resize);
  check(!resized || data.eval_resize > 0, ErrorKind::kConfig,
        "data.eval_resize is 0: it must be above 0 with data.augment = random_resized_crop");
}

void check_schedule(const ScheduleRecipe& schedule, const TrainRecipe& train, double lr) {
  check(schedule.kind != ScheduleKind::kStep || schedule.step_size > 0, ErrorKind::kConfig,
        "schedule.step_size is 0: it must be above 0 with schedule.kind = step");
  const std::vector<int64_t>& milestones = schedule.milestones;
  check(schedule.kind != ScheduleKind::kMultistep || !milestones.empty(), ErrorKind::kConfig,
        "schedule.milestones is empty: schedule.kind = multistep needs at least one");
  check(std::adjacent_find(milestones.begin(), milestones.end(), std::greater_equal<>()) == milestones.end(),
        ErrorKind::kConfig, "schedule.milestones must rise strictly");
  check(schedule.min_lr <= lr, ErrorKind::kConfig,
        "schedule.min_lr is {}, allowed is up to optimizer.lr, which is {}", schedule.min_lr, lr);
  check(schedule.kind != ScheduleKind::kConstant ||
            (schedule.step_size == 0 && milestones.empty() && schedule.min_lr == 0),
        ErrorKind::kConfig,
        "schedule.kind is constant, allowed is another one with schedule.step_size, milestones or min_lr: a "
        "constant rate would ignore them");
  const int64_t length = schedule.unit == ScheduleUnit::kEpochs ? train.epochs : train.steps;
  check(length == 0 || schedule.warmup <= static_cast<double>(length), ErrorKind::kConfig,
        "schedule.warmup is {}, allowed is up to the length of the run, which is {}", schedule.warmup,
        length);
}

}  // namespace

void check_combinations(const Recipe& recipe) {
  check(!recipe.model.name.empty(), ErrorKind::kConfig, "model.name is missing");
  check_model(recipe.model);
  check_train(recipe.train);
  check_data(recipe.data);
  check(!recipe.optimizer.nesterov || recipe.optimizer.momentum > 0, ErrorKind::kConfig,
        "optimizer.momentum is 0: it must be above 0 with optimizer.nesterov = true");
  check_schedule(recipe.schedule, recipe.train, recipe.optimizer.lr);
}

}  // namespace residuum
