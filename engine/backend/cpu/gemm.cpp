#include "engine/backend/cpu/gemm.h"

#include <dnnl.h>

#include "engine/core/check.h"

namespace residuum::cpu {

void gemm(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
          float* c) {
  const int64_t lda = transpose_a == 'N' ? k : m, ldb = transpose_b == 'N' ? n : k;
  const dnnl_status_t status =
      dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.0f, a, lda, b, ldb, 0.0f, c, n);
  check(status == dnnl_success, ErrorKind::kDevice, "oneDNN's GEMM failed with status {}",
        static_cast<int>(status));
}

}  // namespace residuum::cpu
