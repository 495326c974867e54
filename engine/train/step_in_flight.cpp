#include "engine/train/step_in_flight.h"

namespace residuum {
namespace {

template <typename T>
std::span<const std::byte> piece(const std::vector<T>& values, int64_t index, int64_t count) {
  const size_t size = values.size() / static_cast<size_t>(count);
  return std::as_bytes(std::span(values).subspan(static_cast<size_t>(index) * size, size));
}

}  // namespace

StepInputs StepInFlight::micro_inputs(int64_t micro, int64_t count) const {
  StepInputs inputs = {{"images", piece(batch.images, micro, count)},
                       {"labels", piece(batch.labels, micro, count)}};
  if (!batch.windows.empty()) inputs["windows"] = piece(batch.windows, micro, count);
  return inputs;
}

double StepOutcome::loss() const {
  double mean = 0;
  for (const double loss : losses) mean += loss / static_cast<double>(losses.size());
  return mean;
}

void StepInFlight::launch_gradients(Executor& executor, int64_t micro_steps, uint32_t first_number) {
  losses_.clear();
  counts_.clear();
  for (int64_t micro = 0; micro < micro_steps; ++micro) {
    params.micro_step = first_number + static_cast<uint32_t>(micro);
    for (const auto& [name, bytes] : micro_inputs(micro, micro_steps)) executor.write(name, bytes);
    executor.run_micro_step(params);
    losses_.push_back(executor.fetch<float>("loss"));
    counts_.push_back(executor.fetch<int32_t>("counts"));
  }
}

void StepInFlight::launch_update(Executor& executor) {
  executor.run_update(params);
  norm_ = executor.fetch<float>("norm");
}

StepOutcome StepInFlight::outcome() {
  StepOutcome found;
  for (Fetched<float>& loss : losses_) found.losses.push_back(static_cast<double>(loss.wait()[0]));
  for (Fetched<int32_t>& counts : counts_) {
    found.valid += counts.wait()[0];
    found.right += counts.wait()[1];
  }
  for (size_t row = 0; row < batch.ids.size(); ++row) {
    if (batch.ids[row] >= 0 && batch.labels[row] < 0) found.unreadable.push_back(batch.ids[row]);
  }
  const std::span<const float> norm = norm_->wait();
  found.gradient_norm = norm[0];
  found.finite = norm[1] != 0.0f;
  return found;
}

}  // namespace residuum
