// A group of nodes as CUDA launches: each step of the group is one function that puts its kernels on a
// stream. Preparing needs no GPU (plans are made without one); memory is taken when bound; putting the
// kernels on a stream neither allocates nor waits, so it can be captured.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/backend/cuda/device/device.h"
#include "engine/backend/cuda/libraries/cublas.h"
#include "engine/backend/cuda/libraries/cudnn.h"
#include "engine/graph/cost.h"
#include "engine/graph/graph.h"
#include "engine/graph/group.h"
#include "kernels/conv/tiles.h"
#include "kernels/launch.h"

namespace residuum::cuda {

/// Where pieces of scratch begin.
constexpr size_t kScratchAlignment = 256;
constexpr size_t aligned(size_t bytes) {
  return (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

/// What a step sees when it puts its kernels on a stream.
struct Bound {
  std::vector<std::byte*> in, out;       ///< device addresses of the step's values
  std::byte* scratch = nullptr;          ///< the step's scratch_bytes, content undefined
  unsigned* counter = nullptr;           ///< the step's counters, 0 between launches
  const std::byte* constants = nullptr;  ///< device copy of what the step's `constants` returned
  const kernels::StepValues* step = nullptr;
  kernels::Stream stream = nullptr;
};

/// One or a few kernels that together compute one node, or several fused ones.
struct Step {
  std::vector<ValueId> inputs, outputs;
  size_t scratch_bytes = 0;
  /// Bytes to be kept on the device, made when the addresses are known; empty function: none.
  std::function<std::vector<std::byte>(const Bound&)> constants;
  std::function<void(const Bound&)> enqueue;
  /// What the kernels touch besides inputs and outputs, less what they leave alone of them (step_cost.h).
  Cost beside = {};
  int counters = 1;  ///< unsigned numbers for kernels to count in
};

/// A value internal to the group that one step of a launch leaves for another, in the launch's scratch.
struct PassedValue {
  ValueId id = kNone;
  size_t bytes = 0;
};

class CudaLaunch : public Launch {
 public:
  /// `name` stands in errors; `device` is null in a plan without a GPU, where bind and run throw. `cost` is
  /// that of the group's steps, `implementation` a candidate's name (candidates.h).
  CudaLaunch(Device* device, std::string name, std::vector<Step> steps, const Cost& cost = {},
             std::vector<PassedValue> passed = {}, std::string implementation = "own");

  size_t scratch_bytes() const override { return scratch_bytes_; }
  void bind(std::span<std::byte* const> addresses, std::byte* scratch) override;
  /// Sets the step's values and enqueues.
  void run(const StepParams& params) override;
  Cost cost() const override { return cost_; }
  std::string implementation() const override { return implementation_; }
  /// Puts the kernels on a stream of the device. Throws Error(kDevice) naming the launch.
  void enqueue(kernels::Stream stream);

 private:
  Device& device() const;
  size_t counter_bytes() const;

  Device* device_;
  std::string name_;
  std::vector<Step> steps_;
  std::vector<PassedValue> passed_;  ///< at the beginning of the scratch, one after the other
  std::vector<Bound> bound_;
  std::unique_ptr<Memory> memory_;  ///< counters and constants
  size_t scratch_bytes_ = 0;
  Cost cost_;
  std::string implementation_;
};

/// The group's nodes as steps, fused where a kernel does several at once.
struct StepOptions {
  kernels::F32Math f32_math = kernels::F32Math::kTf32x3;
  const Cublas* cublas = nullptr;  ///< of linear layers; null: the engine's own kernels
  std::set<std::string> fusions_off = {};
  const Cudnn* cudnn = nullptr;  ///< of the convolutions it can compute; null: the engine's own kernels
  size_t cudnn_rank = 0;         ///< which of the algorithms it offers, the last one if there are fewer
  int conv_tile = -1;            ///< ConvProblem::tile of the convolutions and linear layers
};
std::vector<Step> make_steps(const Graph& graph, const Group& group, const StepOptions& options);

/// The tiles beside the usual one that are worth a try for the group's convolution or linear layer; none for
/// a group of several.
std::vector<kernels::TileName> other_conv_tiles(const Graph& graph, const Group& group,
                                                const StepOptions& options);

}  // namespace residuum::cuda
