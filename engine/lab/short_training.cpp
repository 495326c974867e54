#include "engine/lab/short_training.h"

#include "engine/core/check.h"
#include "engine/train/schedule.h"
#include "engine/train/step_in_flight.h"
#include "engine/train/switches.h"
#include "engine/train/training_setup.h"

namespace residuum {
namespace {

const Dataset& checked(const Subject& subject) {
  check(subject.recipe.train.batch <= subject.data.size(), ErrorKind::kConfig,
        "train.batch is {}, must be at most the {} images of the data", subject.recipe.train.batch,
        subject.data.size());
  return subject.data;
}

Graph step_graph(const Subject& subject, const Loader& loader) {
  const Recipe& recipe = subject.recipe;
  const Graph forward = training_graph(recipe, subject.build, share_of(recipe).micro_batch(recipe),
                                       loader.image_shape(), class_count(recipe, subject.data));
  return training_step(recipe, forward, subject.backend, share_of(recipe));
}

}  // namespace

ShortTraining::ShortTraining(const Subject& subject)
    : subject_(subject),
      loader_(checked(subject), train_loader_options(subject.recipe, share_of(subject.recipe))),
      executor_(step_graph(subject, loader_), subject.backend, subject.state,
                {plan_options(subject.recipe.train.disable_passes),
                 static_cast<uint64_t>(subject.recipe.train.seed),
                 {}}) {}

double ShortTraining::step() {
  const Recipe& recipe = subject_.recipe;
  StepInFlight step;
  if (steps_ % loader_.batches() == 0) loader_.start(static_cast<uint64_t>(steps_ / loader_.batches()));
  check(loader_.next(step.batch), ErrorKind::kInternal, "an epoch ended before its last step");
  step.params = {static_cast<uint64_t>(recipe.train.seed), static_cast<uint64_t>(steps_), 0,
                 learning_rate(recipe, loader_.batches(), steps_)};
  step.launch_gradients(executor_, share_of(recipe).micro_steps);
  step.launch_update(executor_);
  const StepOutcome found = step.outcome();
  ++steps_;
  check(found.finite, ErrorKind::kNumeric, "step {}: loss or gradients are not finite (loss {})", steps_,
        found.loss());
  return found.loss();
}

}  // namespace residuum
