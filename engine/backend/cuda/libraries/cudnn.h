// cuDNN's convolutions, found at run time: the program neither needs the library to start nor to be built.
// Only algorithms that give the same bits in every run are offered.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/backend/cuda/device/device.h"
#include "kernels/launch.h"

namespace residuum::cuda {

enum class CudnnPass : uint8_t { kForward, kBackwardData, kBackwardFilter };

/// A convolution as cuDNN computes it: every tensor has the problem's type, d_weight too; sums are f32. Of
/// type f32, math kTf32 may round factors to TF32, else products are plain f32.
struct CudnnProblem {
  kernels::ConvProblem conv;
  CudnnPass pass = CudnnPass::kForward;
};

struct CudnnAlgorithm {
  int number = 0;              ///< cudnnConvolution*Algo_t of the pass
  int math = 0;                ///< cudnnMathType_t
  size_t workspace_bytes = 0;  ///< temporary memory while it runs
};

class Cudnn {
 public:
  virtual ~Cudnn() = default;
  /// "cuDNN 9.19.0".
  virtual std::string version() const = 0;
  /// The deterministic algorithms for a problem, fastest first as cuDNN guesses, without those that fall back
  /// to another math than asked for where there is a faster one; none: it cannot compute it.
  virtual std::vector<CudnnAlgorithm> algorithms(const CudnnProblem& problem) const = 0;
  /// Puts a convolution on a stream; can be captured. (a, b) -> dst as the operations of engine/graph/op.h:
  /// (src, weight) -> dst, (d_dst, weight) -> d_src, (d_dst, src) -> d_weight. `algorithm` is one of
  /// algorithms(problem). Throws Error(kDevice) with cuDNN's status.
  virtual void run(const CudnnProblem& problem, const CudnnAlgorithm& algorithm, const void* a, const void* b,
                   void* dst, void* workspace, kernels::Stream stream) const = 0;
};

/// Loads libcudnn.so (version 9, or the file RESIDUUM_CUDNN_LIBRARY names) for the current device. Throws
/// Error(kDevice) naming the files tried and what the loader said.
std::unique_ptr<Cudnn> open_cudnn();

}  // namespace residuum::cuda
