#include "engine/backend/cuda/launch/cuda_launch.h"

#include <algorithm>

#include "engine/core/check.h"

namespace residuum::cuda {
namespace {

size_t bytes_of_counters(const Step& step) {
  return aligned(static_cast<size_t>(step.counters) * sizeof(unsigned));
}

std::vector<std::byte*> addresses_of(const std::vector<ValueId>& ids, std::span<std::byte* const> addresses) {
  std::vector<std::byte*> result;
  for (const ValueId id : ids) result.push_back(addresses[static_cast<size_t>(id)]);
  return result;
}

}  // namespace

CudaLaunch::CudaLaunch(Device* device, std::string name, std::vector<Step> steps, const Cost& cost,
                       std::vector<PassedValue> passed, std::string implementation)
    : device_(device),
      name_(std::move(name)),
      steps_(std::move(steps)),
      passed_(std::move(passed)),
      cost_(cost),
      implementation_(std::move(implementation)) {
  for (const Step& step : steps_) scratch_bytes_ = std::max(scratch_bytes_, aligned(step.scratch_bytes));
  for (const PassedValue& value : passed_) scratch_bytes_ += aligned(value.bytes);
}

Device& CudaLaunch::device() const {
  check(device_ != nullptr, ErrorKind::kDevice, "launch '{}' belongs to a plan made without a GPU", name_);
  return *device_;
}

size_t CudaLaunch::counter_bytes() const {
  size_t bytes = 0;
  for (const Step& step : steps_) bytes += bytes_of_counters(step);
  return bytes;
}

void CudaLaunch::bind(std::span<std::byte* const> outside, std::byte* scratch) {
  std::vector<std::byte*> addresses(outside.begin(), outside.end());
  for (const PassedValue& value : passed_) {
    addresses[static_cast<size_t>(value.id)] = scratch;
    scratch += aligned(value.bytes);
  }
  bound_.clear();
  std::vector<std::vector<std::byte>> constants;
  size_t bytes = counter_bytes();  // of all steps, then the constants
  for (const Step& step : steps_) {
    Bound& bound = bound_.emplace_back();
    bound.in = addresses_of(step.inputs, addresses);
    bound.out = addresses_of(step.outputs, addresses);
    bound.scratch = scratch;
    bound.step = device().step_values();
    bound.stream = device().stream(0);
    constants.push_back(step.constants ? step.constants(bound) : std::vector<std::byte>());
    bytes += aligned(constants.back().size());
  }
  memory_ = device().allocate(bytes);
  std::byte *next = memory_->data() + counter_bytes(), *counters = memory_->data();
  for (size_t i = 0; i < steps_.size(); ++i) {
    bound_[i].counter = reinterpret_cast<unsigned*>(counters);
    counters += bytes_of_counters(steps_[i]);
    if (constants[i].empty()) continue;
    device().copy_to_device(next, constants[i].data(), constants[i].size());
    bound_[i].constants = next;
    next += aligned(constants[i].size());
  }
}

void CudaLaunch::run(const StepParams& params) {
  device().set_step(params);
  enqueue(device().stream(0));
}

void CudaLaunch::enqueue(kernels::Stream stream) {
  try {
    for (size_t i = 0; i < steps_.size(); ++i) {
      bound_[i].stream = stream;
      steps_[i].enqueue(bound_[i]);
    }
  } catch (const kernels::LaunchError& error) {
    fail(ErrorKind::kDevice, "launch '{}' failed: {}", name_, error.what());
  }
}

}  // namespace residuum::cuda
