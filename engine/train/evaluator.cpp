#include "engine/train/evaluator.h"

#include "engine/train/recipe_transform.h"

namespace residuum {
namespace {

LoaderOptions loader_options(const Recipe& recipe) {
  LoaderOptions options;
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

ExecutorOptions executor_options(const Recipe& recipe, const State& state, bool averaged) {
  ExecutorOptions options;
  options.seed = static_cast<uint64_t>(recipe.train.seed);
  if (averaged) {
    options.state_name = [&state](const std::string& name) {
      return state.contains("ema." + name) ? "ema." + name : name;
    };
  }
  return options;
}

}  // namespace

Evaluator::Evaluator(const ModelBuilder& build, const Dataset& dataset, const Recipe& recipe,
                     Backend& backend, State& state, bool averaged)
    : loader_(dataset, loader_options(recipe)),
      classes_(recipe.model.classes > 0 ? recipe.model.classes
                                        : static_cast<int64_t>(dataset.classes().size())),
      executor_(build({Mode::kEval, loader_.local_batch(), loader_.image_shape(), classes_}), backend, state,
                executor_options(recipe, state, averaged)) {}

Evaluation Evaluator::run(const BatchCallback& on_batch) {
  Evaluation total;
  double loss_sum = 0;
  Batch batch;
  loader_.start(0);
  while (loader_.next(batch)) {
    executor_.write("images", batch.images);
    executor_.write("labels", batch.labels);
    executor_.run_micro_step({});
    const std::vector<int32_t> counts = executor_.read<int32_t>("counts");
    total.samples += counts[0];
    total.top1 += counts[1];
    total.top5 += counts[2];
    if (counts[0] > 0) loss_sum += static_cast<double>(executor_.read<float>("loss")[0]) * counts[0];
    if (on_batch) on_batch(batch, executor_.read<float>("logits"));
  }
  total.loss = total.samples == 0 ? 0 : loss_sum / static_cast<double>(total.samples);
  return total;
}

}  // namespace residuum
