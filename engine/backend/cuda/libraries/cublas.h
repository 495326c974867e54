// cuBLAS for linear layers, found at run time: the program neither needs it to start nor to be built.
#pragma once

#include <memory>

#include "engine/backend/cuda/device/device.h"
#include "kernels/launch.h"

namespace residuum::cuda {

/// A row-major matrix product: dst[rows, columns] = a b over `depth` terms. `a_transposed`: a is stored
/// [depth, rows], else [rows, depth]; `b_transposed`: b is stored [columns, depth], else [depth, columns].
struct MatrixProduct {
  int64_t rows = 0, columns = 0, depth = 0;
  bool a_transposed = false, b_transposed = false;
  kernels::Element type = kernels::Element::kBF16;        ///< of a and b
  kernels::Element dst_type = kernels::Element::kBF16;    ///< the same, or f32
  kernels::F32Math f32_math = kernels::F32Math::kTf32x3;  ///< of type f32: kTf32, else plain f32
};

class Cublas {
 public:
  virtual ~Cublas() = default;
  /// "cuBLAS 13.1.0".
  virtual std::string version() const = 0;
  /// Puts the product on a stream, with f32 sums; can be captured; the same bits in every run. Throws
  /// Error(kDevice) with cuBLAS's status.
  virtual void multiply(const MatrixProduct& product, const void* a, const void* b, void* dst,
                        kernels::Stream stream) const = 0;
};

/// Loads libcublas.so (of CUDA 13, 12, or the file RESIDUUM_CUBLAS_LIBRARY names) for a device, which must
/// outlive the result. Throws Error(kDevice) naming the files tried and what the loader said.
std::unique_ptr<Cublas> open_cublas(Device& device);

}  // namespace residuum::cuda
