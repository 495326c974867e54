#include "engine/train/evaluator.h"

#include <cstring>

#include "engine/core/check.h"
#include "engine/train/switches.h"
#include "engine/train/training_setup.h"

namespace residuum {
namespace {

ExecutorOptions executor_options(const Recipe& recipe, const State& state, bool averaged) {
  ExecutorOptions options;
  options.plan = plan_options(recipe.train.disable_passes);
  options.seed = static_cast<uint64_t>(recipe.train.seed);
  if (averaged) {
    options.state_name = [&state](const std::string& name) {
      return state.contains("ema." + name) ? "ema." + name : name;
    };
  }
  return options;
}

/// What was found in one batch.
struct Found {
  int32_t valid = 0, top1 = 0, top5 = 0;
  float loss = 0;  ///< mean over the valid rows
};

/// The batches of all ranks in the order of the data set: rank r has batches r, r + ranks, ...
std::vector<Found> in_order(Communicator* communicator, const std::vector<Found>& mine) {
  if (communicator == nullptr) return mine;
  const std::string bytes(reinterpret_cast<const char*>(mine.data()), mine.size() * sizeof(Found));
  const std::vector<std::string> all = communicator->gather(bytes, "evaluation");
  std::vector<Found> ordered;
  for (size_t at = 0; at < all[0].size(); at += sizeof(Found)) {
    for (const std::string& theirs : all) {
      if (at + sizeof(Found) <= theirs.size())
        std::memcpy(&ordered.emplace_back(), theirs.data() + at, sizeof(Found));
    }
  }
  return ordered;
}

int64_t rounds(int64_t samples, int64_t batch_of_all) {
  return (samples + batch_of_all - 1) / batch_of_all;
}

Evaluation sum_of(const std::vector<Found>& batches) {
  Evaluation total;
  double loss_sum = 0;
  for (const Found& found : batches) {
    total.samples += found.valid;
    total.top1 += found.top1;
    total.top5 += found.top5;
    loss_sum += static_cast<double>(found.loss) * found.valid;
  }
  total.loss = total.samples == 0 ? 0 : loss_sum / static_cast<double>(total.samples);
  return total;
}

}  // namespace

Evaluator::Evaluator(const ModelBuilder& build, const Dataset& dataset, const Recipe& recipe,
                     Backend& backend, State& state, bool averaged, Communicator* communicator)
    : communicator_(communicator),
      bad_sample_limit_(recipe.data.bad_sample_limit),
      loader_(dataset, communicator == nullptr
                           ? eval_loader_options(recipe)
                           : eval_loader_options(recipe, communicator->rank(), communicator->ranks())),
      rounds_(rounds(dataset.size(), loader_.local_batch() * (communicator ? communicator->ranks() : 1))),
      classes_(class_count(recipe, dataset)),
      executor_(build({Mode::kEval, loader_.local_batch(), loader_.image_shape(), classes_}), backend, state,
                executor_options(recipe, state, averaged)) {}

Evaluation Evaluator::run(const BatchCallback& on_batch) {
  return *run([] { return false; }, on_batch);
}

std::optional<Evaluation> Evaluator::run_until(const std::function<bool()>& stop) {
  return run(stop, {});
}

std::optional<Evaluation> Evaluator::run(const std::function<bool()>& stop, const BatchCallback& on_batch) {
  std::vector<Found> mine;
  Batch batch;
  loader_.start(0);
  for (int64_t round = 0; round < rounds_; ++round) {
    if (stop()) return std::nullopt;
    if (!loader_.next(batch)) continue;  // this rank has no batch in the last round
    executor_.write("images", batch.images);
    executor_.write("labels", batch.labels);
    executor_.run_micro_step({});
    const std::vector<int32_t> counts = executor_.read<int32_t>("counts");
    const float loss = counts[0] > 0 ? executor_.read<float>("loss")[0] : 0;
    mine.push_back({counts[0], counts[1], counts[2], loss});
    if (on_batch) on_batch(batch, executor_.read<float>("logits"));
  }
  if (communicator_ != nullptr) check_unreadable();
  return sum_of(in_order(communicator_, mine));
}

/// Each sample of the data set is one rank's, so the ranks' counts add up.
void Evaluator::check_unreadable() const {
  double all = 0;
  for (const double theirs :
       gather_numbers(*communicator_, static_cast<double>(loader_.bad_samples()), "unreadable samples")) {
    all += theirs;
  }
  check(all <= static_cast<double>(bad_sample_limit_), ErrorKind::kData,
        "{} samples of the test split could not be read on all ranks together, data.bad_sample_limit is {}",
        all, bad_sample_limit_);
}

}  // namespace residuum
