#include "engine/train/step_in_flight.h"

namespace residuum {
namespace {

template <typename T>
std::span<const T> piece(const std::vector<T>& values, int64_t index, int64_t count) {
  const size_t size = values.size() / static_cast<size_t>(count);
  return std::span(values).subspan(static_cast<size_t>(index) * size, size);
}

}  // namespace

std::span<const uint8_t> StepInFlight::micro_images(int64_t micro, int64_t count) const {
  return piece(batch.images, micro, count);
}

std::span<const int32_t> StepInFlight::micro_labels(int64_t micro, int64_t count) const {
  return piece(batch.labels, micro, count);
}

void StepInFlight::launch_gradients(Executor& executor, int64_t accumulation) {
  losses_.clear();
  counts_.clear();
  for (int64_t micro = 0; micro < accumulation; ++micro) {
    params.micro_step = static_cast<uint32_t>(micro);
    executor.write("images", std::as_bytes(micro_images(micro, accumulation)));
    executor.write("labels", std::as_bytes(micro_labels(micro, accumulation)));
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
  for (Fetched<float>& loss : losses_) {
    found.loss += static_cast<double>(loss.wait()[0]) / static_cast<double>(losses_.size());
  }
  for (Fetched<int32_t>& counts : counts_) {
    found.valid += counts.wait()[0];
    found.right += counts.wait()[1];
  }
  const std::span<const float> norm = norm_->wait();
  found.gradient_norm = norm[0];
  found.finite = norm[1] != 0.0f;
  return found;
}

}  // namespace residuum
