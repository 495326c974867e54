// A recipe: everything that decides a training run, as plain values read from a TOML file.
// Invariant: a Recipe that parse_recipe returned is complete and consistent: every key known, typed and in
// range, no impossible combination. Key "train.batch" of the file is the member recipe.train.batch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/op.h"
#include "engine/train/model_choice.h"
#include "engine/train/precision.h"

namespace residuum {

/// A choice that a model makes itself unless the recipe does; models/recipe_model.h translates.
enum class BlockChoice : uint8_t { kAuto, kBasic, kBottleneck };
enum class ShortcutChoice : uint8_t { kAuto, kA, kB, kC };
/// kAuto, then the values of Placement in their order.
enum class PlacementChoice : uint8_t {
  kAuto,
  kOriginal,
  kNormAfterAddition,
  kReluBeforeAddition,
  kReluOnlyPreActivation,
  kPreActivation,
};

struct ModelRecipe {
  std::string name;     ///< required; see models/zoo.h
  int64_t classes = 0;  ///< 0: those of the data
  BlockChoice block = BlockChoice::kAuto;
  ShortcutChoice shortcut = ShortcutChoice::kAuto;
  ZeroChannels zeros = ZeroChannels::kBothSides;
  bool v1 = false;
  bool zero_init_gamma = false;
  PlacementChoice placement = PlacementChoice::kAuto;
  ShortcutGate gate = ShortcutGate::kOff;
  std::vector<double> gate_bias;  ///< one value, or empty: the model's
  double shortcut_scale = 1, branch_scale = 1;
  double shortcut_dropout = 0;
  double survival = 1;          ///< of the last block in a step (stochastic depth)
  int64_t sampled_blocks = 0;   ///< open in a step; 0: all
  std::vector<double> dropout;  ///< one value, or empty: the model's
  LayerFunction activation = LayerFunction::kRelu;
  bool batch_norm = true;
  CarryGate carry = CarryGate::kCoupled;
  double compression = 0;  ///< 0: the model's
  double init_scale = 1;
  bool operator==(const ModelRecipe&) const = default;
};

enum class Augment : uint8_t {
  kKeep,               ///< images as they are
  kPadCropFlip,        ///< zero padding, random crop of the original size, flip
  kRandomResizedCrop,  ///< torchvision's, to image_size, flip
};

enum class AugmentPlace : uint8_t {
  kHost,    ///< loader threads
  kDevice,  ///< the first operation of the training graph; pad_crop_flip only, the same pixels
};

struct DataRecipe {
  std::string path;        ///< folder of the data set, whose format is found out; empty: named elsewhere
  int64_t image_size = 0;  ///< of training images after random_resized_crop; 0 with the other augmentations
  std::vector<double> mean, std;  ///< per channel of images in [0, 1]; empty: the model's
  Augment augment = Augment::kKeep;
  AugmentPlace augment_on = AugmentPlace::kHost;
  int64_t pad = 4;                                  ///< pad_crop_flip, pixels on each side
  bool flip = true;                                 ///< both random augmentations
  double min_scale = 0.08, max_scale = 1;           ///< random_resized_crop, part of the image's area
  double min_ratio = 3.0 / 4, max_ratio = 4.0 / 3;  ///< random_resized_crop, width / height
  int64_t eval_resize = 0;  ///< short side of evaluation images before the crop; 0: images as they are
  int64_t eval_crop = 0;    ///< central crop of evaluation images; 0: image_size
  int64_t threads = 1, prefetch = 4;
  int64_t bad_sample_limit = 100;  ///< unreadable samples tolerated
  bool apply_orientation = false;  ///< of EXIF
  bool operator==(const DataRecipe&) const = default;
};

enum class NanPolicy : uint8_t {
  kStop,  ///< the run ends with an error
  kSkip,  ///< the step changes nothing and the run goes on
};

struct TrainRecipe {
  int64_t epochs = 0, steps = 0;            ///< length of the run: exactly one is above 0
  int64_t batch = 128;                      ///< global: over all ranks and accumulated micro-steps
  int64_t accumulation = 1;                 ///< micro-steps per step; divides batch
  int64_t seed = 1;                         ///< >= 0
  Precision precision = Precision::kF32;    ///< of activations and products
  int64_t virtual_shards = 0;               ///< parts of a batch with batch norms of their own; 0: one a rank
  bool sync_batch_norm = false;             ///< batch norms over the batches of all ranks
  int64_t bucket_bytes = 0;                 ///< see bucket_bytes_for() of engine/graph/buckets.h
  double loss_scale = 0;                    ///< see loss_scale() of precision.h; 0: the precision's own
  bool recompute = false;                   ///< forget the activations inside blocks, compute them again
  bool gram_batch_norm = false;             ///< see gram_batch_norm() of engine/graph/passes.h
  std::vector<std::string> disable_passes;  ///< see switches.h
  std::string weights;                      ///< file that training starts from; empty: random weights
  double label_smoothing = 0;
  int64_t eval_every = 1;    ///< epochs; 0: at the end only
  int64_t eval_batch = 256;  ///< images at a time on each rank
  int64_t threads = 0;       ///< of the CPU backend; 0: all cores
  int64_t log_every = 50;    ///< steps
  NanPolicy nan_policy = NanPolicy::kStop;
  bool operator==(const TrainRecipe&) const = default;
};

/// SGD as in torch.
struct OptimizerRecipe {
  double lr = 0.1;  ///< before schedule and warm-up
  double momentum = 0.9;
  bool nesterov = false;
  double weight_decay = 1e-4;
  bool decay_norm_and_bias = true;  ///< weight decay also on BN's gamma and beta and on biases
  double clip_norm = 0;             ///< of all gradients together; 0: off
  double ema_decay = 0;             ///< of averaged weights and running statistics, per step; 0: off
  bool operator==(const OptimizerRecipe&) const = default;
};

enum class ScheduleKind : uint8_t { kConstant, kStep, kMultistep, kCosine, kPoly };
enum class ScheduleUnit : uint8_t { kEpochs, kSteps };
enum class WarmupKind : uint8_t {
  kLinear,    ///< from warmup_start_factor * lr to lr
  kConstant,  ///< warmup_start_factor * lr throughout
};

/// See schedule.h for the formulas.
struct ScheduleRecipe {
  ScheduleKind kind = ScheduleKind::kConstant;
  ScheduleUnit unit = ScheduleUnit::kEpochs;  ///< of step_size, milestones and warmup
  double gamma = 0.1;                         ///< step, multistep
  int64_t step_size = 0;                      ///< step
  std::vector<int64_t> milestones;            ///< multistep, rising
  double power = 1;                           ///< poly
  double min_lr = 0;                          ///< cosine, poly: at the end
  double warmup = 0;
  WarmupKind warmup_kind = WarmupKind::kLinear;
  double warmup_start_factor = 0;
  bool operator==(const ScheduleRecipe&) const = default;
};

struct CheckpointRecipe {
  int64_t every = 0;  ///< steps; 0: at the end of each epoch
  int64_t keep = 2;   ///< newest ones on disk
  bool operator==(const CheckpointRecipe&) const = default;
};

struct Recipe {
  ModelRecipe model;
  DataRecipe data;
  TrainRecipe train;
  OptimizerRecipe optimizer;
  ScheduleRecipe schedule;
  CheckpointRecipe checkpoint;
  bool operator==(const Recipe&) const = default;
};

/// Reads a recipe from TOML `text` called `name` in messages, then applies `overrides` "train.batch=64" in
/// order. The value of an override is TOML; what is not (a bare word, a path) is a string. Throws
/// Error(kConfig) with the key's dotted path, the value found and the values allowed for a value of the wrong
/// type or out of range, with the nearest known key for an unknown one, and for combinations that cannot be.
Recipe parse_recipe(std::string_view text, std::string_view name,
                    std::span<const std::string> overrides = {});

/// parse_recipe of a file of at most 1 MiB; throws Error(kIo) if it cannot be read.
Recipe load_recipe(const std::filesystem::path& path, std::span<const std::string> overrides = {});

/// Throws Error(kConfig) naming the keys, values found and values allowed for combinations that cannot be.
/// parse_recipe has done it already; for recipes changed afterwards.
void check_combinations(const Recipe& recipe);

/// Every key with its value, as TOML that parse_recipe reads back to an equal recipe.
std::string to_toml(const Recipe& recipe);

/// One line per key: path, allowed values, default and meaning; for help texts.
std::string describe_recipe_keys();

}  // namespace residuum
