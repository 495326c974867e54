// Short names for kernels in reports: what the template arguments of a mangled symbol mean.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "kernels/conv/tiles.h"

namespace residuum::cuda {

struct KernelName {
  std::string text;  ///< "conv_kernel kConvWide bf16 backward-data aligned"
  std::optional<kernels::TileName> tile;
  size_t element_bytes = 0;  ///< of a convolution's factors; 0 for other kernels
};

/// "kConvWide".
const char* tile_name(kernels::TileName tile);

/// Understands the symbols that nvcc writes; any other name stays as it is.
KernelName kernel_name(const std::string& symbol);

}  // namespace residuum::cuda
