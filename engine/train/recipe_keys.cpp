#include "engine/train/recipe_keys.h"

namespace residuum {
namespace {

constexpr int64_t kManyEpochs = 1'000'000, kManySteps = 1'000'000'000;
constexpr int64_t kLargestBatch = 1 << 20, kLargestImage = 1 << 14, kMostThreads = 1024;
constexpr double kLargestRate = 1000;

using Path = std::string_view;

template <typename F>
RecipeKey flag(Path path, F member, std::string_view help) {
  return {path, BoolField{member}, help};
}
template <typename F>
RecipeKey text(Path path, F member, std::string_view help) {
  return {path, TextField{member}, help};
}
template <typename F>
RecipeKey integer(Path path, F member, Range<int64_t> range, std::string_view help) {
  return {path, IntegerField{member, range}, help};
}
template <typename F>
RecipeKey real(Path path, F member, Range<double> range, std::string_view help) {
  return {path, RealField{member, range}, help};
}
template <typename F>
RecipeKey integers(Path path, F member, Range<int64_t> range, std::string_view help) {
  return {path, IntegersField{member, range}, help};
}
template <typename F>
RecipeKey reals(Path path, F member, Range<double> range, std::string_view help) {
  return {path, RealsField{member, range}, help};
}
template <typename F>
RecipeKey texts(Path path, F member, std::string_view help) {
  return {path, TextsField{member}, help};
}
template <typename F>
RecipeKey choice(Path path, F member, std::vector<std::string_view> names, std::string_view help) {
  return {path, ChoiceField{member, std::move(names)}, help};
}

// A key's path is the spelling of its member, so the two cannot differ.
#define MEMBER(member) #member, [](auto& recipe) -> decltype((recipe.member)) { return recipe.member; }

const std::vector<RecipeKey>& table() {
  static const std::vector<RecipeKey> keys = {
      text(MEMBER(model.name), "model of the zoo"),
      integer(MEMBER(model.classes), {0, 1 << 20}, "number of classes; 0: those of the data"),
      choice(MEMBER(model.block), {"auto", "basic", "bottleneck"}, "block of the CIFAR nets"),
      choice(MEMBER(model.shortcut), {"auto", "A", "B", "C"}, "shortcut where shapes change (He 2015)"),
      choice(MEMBER(model.zeros), {"both_sides", "end"}, "where shortcut A puts new channels"),
      flag(MEMBER(model.v1), "bottleneck stride on the first 1x1"),
      flag(MEMBER(model.zero_init_gamma), "last gamma of each branch starts at 0"),
      choice(MEMBER(model.placement),
             {"auto", "original", "bn_after_addition", "relu_before_addition", "relu_preactivation",
              "preactivation"},
             "of BN and ReLU in residual blocks (He 2016, table 2)"),
      choice(MEMBER(model.gate), {"off", "exclusive", "shortcut_only"},
             "on shortcuts (He 2016, table 1): (1 - g) x + g F, or (1 - g) x + F"),
      reals(MEMBER(model.gate_bias), {-20, 20},
            "one value, at the start, of `gate` or a highway net's transform gates; empty: the model's"),
      real(MEMBER(model.shortcut_scale), {0, 10}, "constant factor on shortcuts"),
      real(MEMBER(model.branch_scale), {0, 10}, "constant factor on residual branches"),
      real(MEMBER(model.shortcut_dropout), {0, 0.99}, "dropout of shortcuts"),
      real(MEMBER(model.survival), {0.01, 1},
           "stochastic depth: of the last block, falling linearly from 1 at the first"),
      integer(MEMBER(model.sampled_blocks), {0, 10'000}, "residual blocks that work in a step; 0: all"),
      reals(MEMBER(model.dropout), {0, 0.99}, "one value, of the model's own dropouts; empty: the model's"),
      choice(MEMBER(model.activation), {"relu", "sigmoid", "tanh", "crelu"},
             "of layers; crelu: [ReLU(x), ReLU(-x)] of half as many filters"),
      flag(MEMBER(model.batch_norm), "false: biases in its place"),
      choice(MEMBER(model.carry), {"coupled", "own"}, "carry gates of highway nets: 1 - T, or their own"),
      real(MEMBER(model.compression), {0, 1}, "channels a dense net's transition keeps; 0: the model's"),
      real(MEMBER(model.init_scale), {1e-3, 1e3}, "factor on random initial weights"),

      text(MEMBER(data.path), "folder of the data set"),
      integer(MEMBER(data.image_size), {0, kLargestImage}, "size after random_resized_crop"),
      reals(MEMBER(data.mean), {0, 1}, "per channel of images in [0, 1]; empty: the model's"),
      reals(MEMBER(data.std), {1e-3, 10}, "per channel of images in [0, 1]; empty: the model's"),
      choice(MEMBER(data.augment), {"keep", "pad_crop_flip", "random_resized_crop"},
             "random changes of training images"),
      choice(MEMBER(data.augment_on), {"host", "device"}, "where pad_crop_flip is done; changes no result"),
      integer(MEMBER(data.pad), {0, 1024}, "pixels of zeros on each side before the crop"),
      flag(MEMBER(data.flip), "mirror half of the training images"),
      real(MEMBER(data.min_scale), {1e-4, 1}, "smallest part of the area cropped"),
      real(MEMBER(data.max_scale), {1e-4, 1}, "largest part of the area cropped"),
      real(MEMBER(data.min_ratio), {1e-2, 1e2}, "smallest width / height cropped"),
      real(MEMBER(data.max_ratio), {1e-2, 1e2}, "largest width / height cropped"),
      integer(MEMBER(data.eval_resize), {0, kLargestImage},
              "short side of evaluation images; 0: as they are"),
      integer(MEMBER(data.eval_crop), {0, kLargestImage}, "central crop of evaluation images; 0: image_size"),
      integer(MEMBER(data.threads), {0, kMostThreads}, "loader threads; 0: the training thread loads"),
      integer(MEMBER(data.prefetch), {1, 1024}, "batches prepared ahead"),
      integer(MEMBER(data.bad_sample_limit), {0, kManySteps},
              "unreadable samples tolerated, on all ranks together"),
      flag(MEMBER(data.apply_orientation), "turn images as EXIF says"),

      integer(MEMBER(train.epochs), {0, kManyEpochs}, "length of the run; 0: steps says"),
      integer(MEMBER(train.steps), {0, kManySteps}, "length of the run; 0: epochs says"),
      integer(MEMBER(train.batch), {1, kLargestBatch}, "global batch: over ranks and accumulation"),
      integer(MEMBER(train.accumulation), {1, 1 << 16}, "micro-steps per step"),
      integer(MEMBER(train.virtual_shards), {0, 1 << 16},
              "parts of a batch with own batch statistics, added in pairs: any number of ranks gives the "
              "same bits; 0: a part for each rank"),
      flag(MEMBER(train.sync_batch_norm), "batch statistics over all ranks"),
      integer(MEMBER(train.bucket_bytes), {0, int64_t{1} << 32},
              "gradients summed over ranks together; 0: chosen"),
      integer(MEMBER(train.seed), {0, INT64_MAX}, "of all randomness"),
      choice(MEMBER(train.precision), {kPrecisionNames.begin(), kPrecisionNames.end()},
             "of activations; tf32: fp32 with products in TF32 on CUDA; fp16: CUDA only"),
      real(MEMBER(train.loss_scale), {0, 1 << 24}, "of gradients on their way; 0: 1024 for fp16, else 1"),
      flag(MEMBER(train.recompute), "compute activations of blocks again"),
      flag(MEMBER(train.gram_batch_norm),
           "batch norms of wide 1x1 convolutions from their input's Gram matrix"),
      texts(MEMBER(train.disable_passes), "left out, as `plan --disable-pass` names them"),
      text(
          MEMBER(train.weights),
          "safetensors file that training starts from, but for a last layer of other classes; empty: random"),
      real(MEMBER(train.label_smoothing), {0, 0.99}, "of the training loss"),
      integer(MEMBER(train.eval_every), {0, kManyEpochs}, "epochs between evaluations; 0: at the end"),
      integer(MEMBER(train.eval_batch), {1, kLargestBatch}, "images evaluated at a time, on each rank"),
      integer(MEMBER(train.threads), {0, kMostThreads}, "of the CPU backend; 0: all cores"),
      integer(MEMBER(train.log_every), {1, kManySteps}, "steps between log lines"),
      choice(MEMBER(train.nan_policy), {"stop", "skip"}, "after a loss or gradient that is not finite"),

      real(MEMBER(optimizer.lr), {0, kLargestRate}, "learning rate before schedule and warm-up"),
      real(MEMBER(optimizer.momentum), {0, 0.9999}, "of SGD"),
      flag(MEMBER(optimizer.nesterov), "Nesterov's momentum"),
      real(MEMBER(optimizer.weight_decay), {0, 10}, "added to gradients: weight_decay * weight"),
      flag(MEMBER(optimizer.decay_norm_and_bias), "decay BN parameters and biases too"),
      real(MEMBER(optimizer.clip_norm), {0, 1e6}, "largest norm of all gradients; 0: off"),
      real(MEMBER(optimizer.ema_decay), {0, 0.999999},
           "of averaged weights and statistics, per step; 0: off"),

      choice(MEMBER(schedule.kind), {"constant", "step", "multistep", "cosine", "poly"},
             "learning rate over time"),
      choice(MEMBER(schedule.unit), {"epochs", "steps"}, "of step_size, milestones and warmup"),
      real(MEMBER(schedule.gamma), {0, 1}, "factor at each step or milestone"),
      integer(MEMBER(schedule.step_size), {0, kManySteps}, "time between factors of kind step"),
      integers(MEMBER(schedule.milestones), {1, kManySteps}, "times of factors of kind multistep"),
      real(MEMBER(schedule.power), {0, 100}, "of kind poly"),
      real(MEMBER(schedule.min_lr), {0, kLargestRate}, "last learning rate of cosine and poly"),
      real(MEMBER(schedule.warmup), {0, 1e9}, "time until the full learning rate"),
      choice(MEMBER(schedule.warmup_kind), {"linear", "constant"}, "rising, or constant at the start factor"),
      real(MEMBER(schedule.warmup_start_factor), {0, 1}, "of the learning rate at step 0"),

      integer(MEMBER(checkpoint.every), {0, kManySteps}, "steps; 0: at the end of each epoch"),
      integer(MEMBER(checkpoint.keep), {1, 1000}, "newest checkpoints on disk"),
  };
  return keys;
}

#undef MEMBER

}  // namespace

std::span<const RecipeKey> recipe_keys() {
  return table();
}

}  // namespace residuum
