// The CUDA backend of a build without nvcc: it says so.
#include "engine/backend/cuda/cuda_backend.h"
#include "engine/core/check.h"

namespace residuum::cuda {

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions&) {
  fail(ErrorKind::kDevice, "device 'cuda' is not in this build: it was made without nvcc");
}

}  // namespace residuum::cuda
