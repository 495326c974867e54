#include "engine/backend/cuda/libraries/cublas.h"

#include <map>

#include "engine/core/check.h"
#include "engine/core/dynamic_library.h"
#include "kernels/dependent_launch.h"

namespace residuum::cuda {
namespace {

using Handle = void*;
// Values of cuBLAS's and CUDA's stable binary interface (cublas_api.h, library_types.h).
constexpr int kSuccess = 0, kNotTransposed = 0, kTransposed = 1, kDefaultAlgorithm = -1;
constexpr int kComputeF32 = 68, kComputeTf32 = 77;

int data_type(kernels::Element type) {
  switch (type) {
    case kernels::Element::kF32:
      return 0;  // CUDA_R_32F
    case kernels::Element::kF16:
      return 2;  // CUDA_R_16F
    case kernels::Element::kBF16:
      return 14;  // CUDA_R_16BF
  }
  return 0;
}

class LoadedCublas : public Cublas {
 public:
  explicit LoadedCublas(Device& device) {
    for (int i = 0; i < kStreams; ++i) workspaces_[device.stream(i)] = device.allocate(kWorkspaceBytes);
    library_.find(destroy_, "cublasDestroy_v2");
    library_.find(get_version_, "cublasGetVersion_v2");
    library_.find(set_stream_, "cublasSetStream_v2");
    library_.find(set_workspace_, "cublasSetWorkspace_v2");
    library_.find(gemm_, "cublasGemmEx");
    int (*create)(Handle*) = nullptr;
    library_.find(create, "cublasCreate_v2");
    check_status(create(&handle_), "cublasCreate");
  }
  ~LoadedCublas() override {
    if (handle_ != nullptr) destroy_(handle_);
  }
  LoadedCublas(const LoadedCublas&) = delete;
  LoadedCublas& operator=(const LoadedCublas&) = delete;

  std::string version() const override {
    int number = 0;
    check_status(get_version_(handle_, &number), "cublasGetVersion");
    return fmt::format("cuBLAS {}.{}.{}", number / 10000, number / 100 % 100, number % 100);
  }

  void multiply(const MatrixProduct& p, const void* a, const void* b, void* dst,
                kernels::Stream stream) const override {
    check_status(set_stream_(handle_, stream), "cublasSetStream");
    // A workspace for each stream makes results repeatable, and nothing is allocated in a capture.
    Memory& workspace = *workspaces_.at(stream);
    check_status(set_workspace_(handle_, workspace.data(), workspace.bytes()), "cublasSetWorkspace");
    const auto whole = [](int64_t value) { return static_cast<int>(value); };
    const float one = 1, zero = 0;
    const bool plain = p.type != kernels::Element::kF32 || p.f32_math != kernels::F32Math::kTf32;
    // cuBLAS counts column by column, so it sees every matrix transposed: dst^T = b^T a^T.
    check_status(
        gemm_(handle_, p.b_transposed ? kTransposed : kNotTransposed,
              p.a_transposed ? kTransposed : kNotTransposed, whole(p.columns), whole(p.rows), whole(p.depth),
              &one, b, data_type(p.type), whole(p.b_transposed ? p.depth : p.columns), a, data_type(p.type),
              whole(p.a_transposed ? p.rows : p.depth), &zero, dst, data_type(p.dst_type), whole(p.columns),
              plain ? kComputeF32 : kComputeTf32, kDefaultAlgorithm),
        "cublasGemmEx");
    kernels::DependentLaunches::of_this_thread().interrupt(stream);  // it may end in other work than a kernel
  }

 private:
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what cuBLAS's manual wants on Hopper

  static void check_status(int status, const char* call) {
    check(status == kSuccess, ErrorKind::kDevice, "{} failed with cuBLAS status {}", call, status);
  }

  DynamicLibrary library_{
      "cuBLAS", "RESIDUUM_CUBLAS_LIBRARY", {"libcublas.so.13", "libcublas.so.12", "libcublas.so"}};
  std::map<kernels::Stream, std::unique_ptr<Memory>> workspaces_;
  Handle handle_ = nullptr;
  int (*destroy_)(Handle) = nullptr;
  int (*get_version_)(Handle, int*) = nullptr;
  int (*set_stream_)(Handle, CUstream_st*) = nullptr;
  int (*set_workspace_)(Handle, void*, size_t) = nullptr;
  int (*gemm_)(Handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a, int a_type,
               int lda, const void* b, int b_type, int ldb, const void* beta, void* c, int c_type, int ldc,
               int compute, int algorithm) = nullptr;
};

}  // namespace

std::unique_ptr<Cublas> open_cublas(Device& device) {
  return std::make_unique<LoadedCublas>(device);
}

}  // namespace residuum::cuda
