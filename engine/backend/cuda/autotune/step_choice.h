// How groups become steps: by the engine's own kernels, by libraries where they were asked for, or by what
// measuring finds. Owns the libraries, so it must outlive the steps it makes.
#pragma once

#include <memory>
#include <string>

#include "engine/backend/cuda/autotune/autotuner.h"

namespace residuum::cuda {

class StepChoice {
 public:
  /// `device` must outlive this; null in a plan without a GPU: then the steps are the engine's own. Throws
  /// Error(kDevice) when a library that the options ask for cannot be loaded; one that only the autotuner
  /// would try is left out with a message.
  StepChoice(Device* device, const BackendOptions& options);

  Candidate steps_of(const Graph& graph, const Group& group);
  /// The fusions that the steps leave out.
  const std::set<std::string>& fusions_off() const { return options_.fusions_off; }
  /// The libraries' versions and what the autotuner chose so far, each after ", ".
  std::string describe() const;
  /// Memory ran out: nothing more is measured, as plans made now are for a message only.
  void stop_measuring();

 private:
  std::unique_ptr<Cublas> cublas_;
  std::unique_ptr<Cudnn> cudnn_;
  std::unique_ptr<Autotuner> autotuner_;
  StepOptions options_;
};

}  // namespace residuum::cuda
