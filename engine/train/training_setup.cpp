#include "engine/train/training_setup.h"

#include <algorithm>

#include "engine/backend/backend_passes.h"
#include "engine/core/check.h"
#include "engine/graph/image_windows.h"
#include "engine/train/recipe_transform.h"
#include "engine/train/switches.h"

namespace residuum {

Share share_of(const Recipe& recipe, int rank, int ranks) {
  const TrainRecipe& train = recipe.train;
  Share share{rank, ranks, train.accumulation, train.virtual_shards > 0};
  if (share.in_pairs) {
    check(
        train.virtual_shards % ranks == 0, ErrorKind::kConfig,
        "train.virtual_shards is {}: {} ranks cannot have equal parts, allowed are powers of two of ranks up "
        "to {}",
        train.virtual_shards, ranks, train.virtual_shards);
    share.micro_steps = train.virtual_shards / ranks;
  }
  check(train.batch % (ranks * share.micro_steps) == 0, ErrorKind::kConfig,
        "train.batch is {}, allowed for {} ranks with {} micro-steps each are multiples of {}", train.batch,
        ranks, share.micro_steps, ranks * share.micro_steps);
  return share;
}

LoaderOptions train_loader_options(const Recipe& recipe, const Share& share) {
  LoaderOptions options;
  options.rank = share.rank;
  options.world = share.ranks;
  options.batch = recipe.train.batch;
  options.transform = train_transform(recipe.data);
  options.windows_only = recipe.data.augment_on == AugmentPlace::kDevice;
  options.seed = static_cast<uint64_t>(recipe.train.seed);
  options.threads = static_cast<int>(recipe.data.threads);
  options.prefetch = static_cast<int>(recipe.data.prefetch);
  options.bad_sample_limit = recipe.data.bad_sample_limit;
  return options;
}

LoaderOptions eval_loader_options(const Recipe& recipe, int rank, int ranks) {
  LoaderOptions options;
  options.rank = rank;
  options.world = ranks;
  options.whole_batches = true;
  options.batch = recipe.train.eval_batch;
  options.transform = eval_transform(recipe.data);
  options.seed = static_cast<uint64_t>(recipe.train.seed);
  options.shuffle = false;
  options.threads = static_cast<int>(recipe.data.threads);
  options.prefetch = static_cast<int>(recipe.data.prefetch);
  options.drop_last = false;
  options.bad_sample_limit = recipe.data.bad_sample_limit;
  return options;
}

int64_t class_count(const Recipe& recipe, const Dataset& dataset) {
  const auto own = static_cast<int64_t>(dataset.classes().size());
  const int64_t classes = recipe.model.classes > 0 ? recipe.model.classes : own;
  for (int64_t i = 0; classes < own && i < dataset.size(); ++i) {
    if (dataset.label(i) < classes) continue;
    fail(ErrorKind::kData, "{} has label {}, allowed with model.classes = {} are 0 to {}",
         dataset.describe(i), dataset.label(i), classes, classes - 1);
  }
  return classes;
}

Graph training_graph(const Recipe& recipe, const ModelBuilder& build, int64_t micro_batch,
                     const ImageShape& image, int64_t classes) {
  Graph graph = build({Mode::kTrain, micro_batch, image, classes});
  return recipe.data.augment_on == AugmentPlace::kDevice ? add_image_windows(std::move(graph)) : graph;
}

std::vector<std::string> head_parameters(const Graph& forward) {
  const auto head = std::find_if(forward.nodes.rbegin(), forward.nodes.rend(),
                                 [](const Node& node) { return std::holds_alternative<Linear>(node.op); });
  if (head == forward.nodes.rend()) return {};
  const std::string& weight = forward.value(head->inputs.at(1)).name;
  return {weight, weight.substr(0, weight.rfind('.')) + ".bias"};  // which another node adds
}

UpdateOptions update_options(const Recipe& recipe, const Share& share) {
  const OptimizerRecipe& o = recipe.optimizer;
  UpdateOptions update;
  update.momentum = static_cast<float>(o.momentum);
  update.nesterov = o.nesterov;
  update.weight_decay = static_cast<float>(o.weight_decay);
  update.decay_norm_and_bias = o.decay_norm_and_bias;
  update.clip_norm = static_cast<float>(o.clip_norm);
  update.ema_decay = static_cast<float>(o.ema_decay);
  update.accumulation = static_cast<int>(share.micro_steps);
  update.ranks = share.ranks;
  update.in_pairs = share.in_pairs;
  update.loss_scale = static_cast<float>(loss_scale(recipe.train.precision, recipe.train.loss_scale));
  return update;
}

std::vector<Pass> passes_of(const Recipe& recipe, const Backend& backend, const Share& share) {
  TrainingPassOptions options = backend_passes(backend);
  options.update = update_options(recipe, share);
  options.sync_batch_norm = recipe.train.sync_batch_norm;
  options.bucket_bytes = static_cast<size_t>(recipe.train.bucket_bytes);
  options.recompute = recipe.train.recompute;
  options.gram_batch_norm = recipe.train.gram_batch_norm;
  return training_passes(options);
}

Graph training_step(const Recipe& recipe, Graph forward, const Backend& backend, const Share& share) {
  const std::vector<std::string>& off = recipe.train.disable_passes;
  check_switches(off, ErrorKind::kConfig);
  const std::vector<Pass> passes = passes_of(recipe, backend, share);
  check_needed_passes(passes, off, "train.disable_passes", ErrorKind::kConfig);
  return run_passes_without(off, std::move(forward), passes);
}

}  // namespace residuum
