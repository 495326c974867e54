#include "engine/train/evaluator.h"

#include "engine/train/training_setup.h"

namespace residuum {
namespace {

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
    : loader_(dataset, eval_loader_options(recipe)),
      classes_(class_count(recipe, dataset)),
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
