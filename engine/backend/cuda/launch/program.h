// Launches as one CUDA graph: recorded by capturing the streams at the first run, replayed by every run.
#pragma once

#include <vector>

#include "engine/backend/cuda/device/cuda_call.h"
#include "engine/backend/cuda/launch/cuda_launch.h"

namespace residuum::cuda {

class GraphProgram : public Program {
 public:
  /// `device` and the launches (of this backend) must outlive this. `dependent`: kernels may start while the
  /// one before ends.
  GraphProgram(Device& device, std::vector<RecordedLaunch> launches, bool dependent)
      : device_(device), launches_(std::move(launches)), dependent_(dependent) {}

  /// Throws Error(kDevice) naming the launch that could not be recorded; then nothing was put on the stream,
  /// which can be used as before.
  void run(const StepParams& params) override;

 private:
  GraphExecHandle capture() const;

  Device& device_;
  std::vector<RecordedLaunch> launches_;
  bool dependent_;
  GraphExecHandle graph_;
};

}  // namespace residuum::cuda
