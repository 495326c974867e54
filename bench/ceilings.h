// What the machine can do at most, measured like everything else and in the same run: copy bandwidth, matrix
// product, launch latency. Percentages are of these, not of a data sheet.
#pragma once

#include <string>

#include "bench/harness.h"

namespace residuum::bench {

struct Ceilings {
  double copy_bytes_per_second = 0;  ///< read and written
  double flops_per_second = 0;       ///< of a large matrix product
  std::string product_by;            ///< the implementation that was fastest at it
  std::string product_type;          ///< of its elements: "bf16"
  double launch_seconds = 0;         ///< of one tiny launch among many in a replayed program
  double run_seconds = 0;            ///< from asking for one tiny launch to knowing that it is done

  /// The least time for that much work, and what limits it.
  double seconds_for(double bytes, double flops) const;
  bool memory_bound(double bytes, double flops) const;
};

struct CeilingSizes {
  size_t copy_bytes = 0;
  int64_t product = 0;  ///< extent of the square matrices
};
/// Far beyond caches, but over in milliseconds.
CeilingSizes ceiling_sizes(const Backend& backend);

/// Matrices are of `type`; the product is the fastest of linear layer, 1x1 convolution and, on CUDA, cuBLAS.
Ceilings measure_ceilings(Backend& backend, DType type, const CeilingSizes& sizes, const Sampling& sampling);

nlohmann::ordered_json to_json(const Ceilings& ceilings);
/// One line for people.
std::string to_text(const Ceilings& ceilings);

}  // namespace residuum::bench
