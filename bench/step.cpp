#include "bench/step.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/core/random.h"
#include "engine/train/switches.h"
#include "engine/train/training_setup.h"
#include "models/recipe_model.h"

namespace residuum::bench {
namespace {

using Json = nlohmann::ordered_json;

/// Ends of forward and backward among the groups; the update is the rest.
struct PhaseEnds {
  size_t forward = 0, backward = 0;
};
PhaseEnds phase_ends(const Plan& plan) {
  PhaseEnds ends{0, plan.update_begin};
  while (ends.forward < plan.update_begin &&
         plan.graph.node(plan.groups[ends.forward].nodes.front()).phase == Phase::kForward) {
    ++ends.forward;
  }
  return ends;
}

Statistics replayed(Backend& backend, Timer& timer, std::vector<RecordedLaunch> launches,
                    const Sampling& sampling) {
  const auto program = backend.record(std::move(launches));
  const auto work = [&] { program->run({}); };
  warm_up(timer, sampling, work);
  return statistics_of(sample(timer, sampling, work));
}

std::string nodes_text(const Plan& plan, size_t g) {
  std::string text;
  for (const NodeId id : plan.groups[g].nodes) {
    const Node& node = plan.graph.node(id);
    text += fmt::format("{}{}:{}", text.empty() ? "" : " ", node.name, op_name(node.op));
  }
  return text;
}

}  // namespace

double StepRound::images_per_second(int64_t batch) const {
  return static_cast<double>(batch) / statistics_of(seconds).median;
}

StepBench::StepBench(Backend& backend, const Recipe& recipe, const Dataset* dataset)
    : backend_(backend),
      batch_(recipe.train.batch),
      state_(std::make_unique<State>(backend)),
      timer_(backend.make_timer()) {
  params_ = {static_cast<uint64_t>(recipe.train.seed), 0, 0, static_cast<float>(recipe.optimizer.lr)};
  GraphRequest wanted = published_request(recipe, Mode::kTrain, batch_);
  if (dataset != nullptr) {
    loader_ = std::make_unique<Loader>(*dataset, train_loader_options(recipe, share_of(recipe)));
    wanted.image = loader_->image_shape();
    wanted.classes = class_count(recipe, *dataset);
  }
  Graph graph = training_graph(recipe, model_builder(recipe), batch_, wanted.image, wanted.classes);
  executor_ = std::make_unique<Executor>(
      training_step(recipe, std::move(graph), backend, share_of(recipe)), backend, *state_,
      ExecutorOptions{.plan = plan_options(recipe.train.disable_passes), .state_name = {}});
  if (loader_) {
    loader_->start(epoch_);
  } else {
    write_made_up_batch(wanted.classes);
  }
}

void StepBench::write_made_up_batch(int64_t classes) {
  RandomStream random(1, RandomPurpose::kAnalysis, 0, 0);
  const Graph& graph = executor_->graph();
  std::vector<uint8_t> images(static_cast<size_t>(graph.desc(*graph.find("images")).elements()));
  std::vector<int32_t> labels(static_cast<size_t>(graph.desc(*graph.find("labels")).elements()));
  for (uint8_t& pixel : images) pixel = static_cast<uint8_t>(random.next_u32());
  for (int32_t& label : labels)
    label = static_cast<int32_t>(random.uniform_below(static_cast<uint32_t>(classes)));
  executor_->write("images", images);
  executor_->write("labels", labels);
}

void StepBench::next_batch() {
  while (!loader_->next(images_)) loader_->start(++epoch_);
  executor_->write("images", images_.images);
  executor_->write("labels", images_.labels);
}

void StepBench::run_step() {
  if (loader_) next_batch();
  executor_->run_micro_step(params_);
  executor_->run_update(params_);
  ++params_.step;
}

void StepBench::warm_up(int steps) {
  for (int i = 0; i < std::max(steps, 1); ++i) run_step();
  backend_.synchronize();
}

StepRound StepBench::measure(int steps) {
  timer_->mark();
  for (int i = 0; i < steps; ++i) {
    run_step();
    timer_->mark();
  }
  StepRound round;
  round.seconds = timer_->intervals();
  round.loss = double{executor_->read<float>("loss")[0]};
  return round;
}

double StepBench::roofline_seconds(const Ceilings& ceilings) const {
  double seconds = 0;
  for (const auto& launch : plan().launches) {
    const Cost cost = launch->cost();
    seconds += ceilings.seconds_for(static_cast<double>(cost.bytes()), static_cast<double>(cost.flops));
  }
  return seconds;
}

Json StepBench::time_phases(const Sampling& sampling) {
  const PhaseEnds ends = phase_ends(plan());
  const auto seconds = [&](size_t begin, size_t end) {
    return to_json(replayed(backend_, *timer_, recorded_launches(plan(), begin, end), sampling));
  };
  return {{"forward", seconds(0, ends.forward)},
          {"backward", seconds(ends.forward, ends.backward)},
          {"update", seconds(ends.backward, plan().launches.size())}};
}

Json StepBench::time_launches(const Ceilings& ceilings, const Sampling& sampling) {
  std::vector<Json> rows;
  for (size_t g = 0; g < plan().launches.size(); ++g) {
    Launch& launch = *plan().launches[g];
    Sampling once = sampling;
    const double first = bench::warm_up(*timer_, {1, 0}, [&] { launch.run(params_); });
    once.warm_up_seconds = 0;  // the program is warm from that
    const size_t repeats = repeats_for(first, 1);
    const Statistics many = replayed(
        backend_, *timer_, std::vector<RecordedLaunch>(repeats, RecordedLaunch{&launch, 0, {}}), once);
    const double seconds = many.median / static_cast<double>(repeats);
    const double bytes = static_cast<double>(launch.cost().bytes()),
                 flops = static_cast<double>(launch.cost().flops);
    rows.push_back({{"launch", g},
                    {"ms", seconds * 1e3},
                    {"gflops", flops / seconds * 1e-9},
                    {"gbytes_per_second", bytes / seconds * 1e-9},
                    {"roofline_share", ceilings.seconds_for(bytes, flops) / seconds},
                    {"bound", ceilings.memory_bound(bytes, flops) ? "memory" : "compute"},
                    {"implementation", launch.implementation()},
                    {"stream", plan().places[g].stream},
                    {"nodes", nodes_text(plan(), g)}});
  }
  std::sort(rows.begin(), rows.end(),
            [](const Json& a, const Json& b) { return a["ms"].get<double>() > b["ms"].get<double>(); });
  return rows;
}

Json StepBench::plan_json() const {
  const Cost cost = plan().cost();
  const auto images = static_cast<double>(batch_);
  return {{"launches", cost.launches},
          {"mb_per_image", static_cast<double>(cost.bytes()) * 1e-6 / images},
          {"gflop_per_image", static_cast<double>(cost.flops) * 1e-9 / images},
          {"peak_bytes", plan().peak_bytes()}};
}

}  // namespace residuum::bench
