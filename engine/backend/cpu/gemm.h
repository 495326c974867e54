// Dense f32 matrix products in one thread, on oneDNN.
#pragma once

#include <cstdint>

namespace residuum::cpu {

/// c[m,n] = op(a)[m,k] op(b)[k,n], row major, dense; op transposes for 'T' and does nothing for 'N'. Throws
/// Error(kDevice) with oneDNN's status.
void gemm(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, const float* a, const float* b,
          float* c);

}  // namespace residuum::cpu
