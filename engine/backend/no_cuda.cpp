// The CUDA backend of a build without nvcc: it says so.
#include "engine/backend/cuda/cuda_backend.h"
#include "engine/backend/cuda/report/kernel_report.h"
#include "engine/core/check.h"

namespace residuum::cuda {
namespace {

[[noreturn]] void fail_absent() {
  fail(ErrorKind::kDevice, "device 'cuda' is not in this build: it was made without nvcc");
}

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions&) {
  fail_absent();
}

std::unique_ptr<Backend> make_cuda_planning_backend(const BackendOptions&) {
  fail_absent();
}

KernelReport kernel_report(const std::filesystem::path&, const std::filesystem::path&) {
  fail_absent();
}

}  // namespace residuum::cuda
