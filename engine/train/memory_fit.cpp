#include "engine/train/memory_fit.h"

#include <fmt/core.h>

#include "engine/exec/plan.h"
#include "engine/train/evaluator.h"
#include "engine/train/switches.h"
#include "engine/train/training_setup.h"
#include "engine/train/units.h"

namespace residuum {
namespace {

/// Part of the free memory left for what no plan knows: staging buffers of the inputs, constants of launches,
/// the runtime's own.
constexpr size_t kReservedPart = 20;

/// The image size of a split, found without worker threads.
ImageShape image_shape_of(const Dataset& data, LoaderOptions options) {
  options.threads = 0;
  return Loader(data, options).image_shape();
}

}  // namespace

int64_t largest_fitting(int64_t limit, size_t available, const std::function<size_t(int64_t)>& bytes) {
  int64_t fits = 0, too_large = limit + 1;
  while (too_large - fits > 1) {
    const int64_t middle = fits + (too_large - fits) / 2;
    (bytes(middle) <= available ? fits : too_large) = middle;
  }
  return fits;
}

std::string explain_out_of_memory(const Recipe& recipe, const ModelBuilder& build, const Dataset& train_data,
                                  const Dataset& test_data, Backend& backend, const Share& share) {
  const ImageShape image = image_shape_of(train_data, train_loader_options(recipe, share));
  const Plan evaluation = make_plan(
      build({Mode::kEval, recipe.train.eval_batch, image_shape_of(test_data, eval_loader_options(recipe)),
             class_count(recipe, test_data)}),
      backend, plan_options(recipe.train.disable_passes));
  const auto plan_of = [&](int64_t micro_batch) {
    const Graph forward = training_graph(recipe, build, micro_batch, image, class_count(recipe, train_data));
    return make_plan(training_step(recipe, forward, backend, share), backend,
                     plan_options(recipe.train.disable_passes));
  };
  const int64_t micro_batch = share.micro_batch(recipe);
  const Plan planned = plan_of(micro_batch);
  const size_t free = backend.free_bytes();
  const int64_t fits = largest_fitting(micro_batch - 1, free - free / kReservedPart, [&](int64_t candidate) {
    return plan_of(candidate).peak_bytes() + evaluation.memory.arena_bytes;
  });
  const auto text = [](size_t bytes) { return bytes_text(static_cast<int64_t>(bytes)); };
  return fmt::format(
      "{} at train.batch {} does not fit: planned are {} (arena {}, weights and optimizer {}, evaluation of "
      "{} "
      "images at a time {}), the device has {} free; {}",
      recipe.model.name, recipe.train.batch, text(planned.peak_bytes() + evaluation.memory.arena_bytes),
      text(planned.memory.arena_bytes), text(planned.persistent_bytes), recipe.train.eval_batch,
      text(evaluation.memory.arena_bytes), text(free),
      fits == 0
          ? std::string("no batch fits")
          : fmt::format("the largest batch that fits is {}; train.accumulation makes larger steps of such "
                        "batches",
                        fits * share.ranks * share.micro_steps));
}

}  // namespace residuum
