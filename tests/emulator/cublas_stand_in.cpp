// A library with the functions of cuBLAS that the CUDA backend loads, for the emulated runtime: naive
// products in double, put on the emulated stream. The program that loads it exports emulator::enqueue.
// Invariant: what the real library would refuse (no workspace during use, unknown types) fails here too.
#include <optional>

#include "tests/emulator/runtime.h"
#include "tests/emulator/stand_in_values.h"

namespace {

using residuum::emulator::load;
using residuum::emulator::store;
using residuum::emulator::Stored;

struct Context {
  CUstream_st* stream = nullptr;
  size_t workspace_bytes = 0;
};

constexpr int kSuccess = 0, kNotInitialized = 1, kInvalidValue = 7;

/// Of cudaDataType_t.
std::optional<Stored> stored_type(int type) {
  if (type == 0) return Stored::kF32;
  if (type == 2) return Stored::kF16;
  if (type == 14) return Stored::kBF16;
  return std::nullopt;
}

}  // namespace

extern "C" {

int cublasCreate_v2(void** handle) {
  *handle = new Context;
  return kSuccess;
}
int cublasDestroy_v2(void* handle) {
  delete static_cast<Context*>(handle);
  return kSuccess;
}
int cublasGetVersion_v2(void*, int* version) {
  *version = 130100;
  return kSuccess;
}
/// As the real one does, forgets the workspace.
int cublasSetStream_v2(void* handle, CUstream_st* stream) {
  *static_cast<Context*>(handle) = {stream, 0};
  return kSuccess;
}
int cublasSetWorkspace_v2(void* handle, void* workspace, size_t bytes) {
  static_cast<Context*>(handle)->workspace_bytes = workspace == nullptr ? 0 : bytes;
  return kSuccess;
}
int cublasGemmEx(void* handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a,
                 int a_type, int lda, const void* b, int b_type, int ldb, const void* beta, void* c,
                 int c_type, int ldc, int compute, int) {
  const Context& context = *static_cast<const Context*>(handle);
  if (context.workspace_bytes == 0) return kNotInitialized;
  const std::optional<Stored> type = stored_type(a_type), dst_type = stored_type(c_type);
  const bool legal = type && a_type == b_type && dst_type && (compute == 68 || compute == 77) &&
                     lda >= (op_a == 0 ? m : k) && ldb >= (op_b == 0 ? k : n) && ldc >= m;
  if (!legal) return kInvalidValue;
  const double scale = double{*static_cast<const float*>(alpha)},
               keep = double{*static_cast<const float*>(beta)};
  residuum::emulator::enqueue(context.stream, [=] {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = 0; i < m; ++i) {
        double sum = 0;
        for (int64_t l = 0; l < k; ++l) {
          sum += load(a, *type, op_a == 0 ? l * lda + i : i * lda + l) *
                 load(b, *type, op_b == 0 ? j * ldb + l : l * ldb + j);
        }
        const double old = keep == 0 ? 0 : keep * load(c, *dst_type, j * ldc + i);
        store(c, *dst_type, j * ldc + i, scale * sum + old);
      }
    }
  });
  return kSuccess;
}

}  // extern "C"
