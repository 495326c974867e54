// The products of a warpgroup (wgmma) that one of its threads has started and not waited for.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/emulator/ptx_twins.h"

namespace residuum::emulator {

/// One lane's part of a product, and how the factors lie in shared memory.
struct WarpgroupProduct {
  float* c = nullptr;  ///< [eights][4]
  int eights = 0;
  uint32_t a[4] = {};               ///< where the left factor is in registers
  const uint32_t* words = nullptr;  ///< those registers, which are the product's until it is waited for
  kernels::SharedFactor rows{};     ///< else
  int left_bytes = 0, warp = 0;     ///< of a row of those; the warp in its warpgroup
  kernels::SharedFactor b{};
  bool is_bf16 = false, flat = false;
  int row_bytes = 0;
};

/// What a warp has been asked to multiply, as all warps of its warpgroup must be.
struct ProductLog {
  uint64_t count = 0, mix = 0;
  bool operator==(const ProductLog&) const = default;
  void add(const WarpgroupProduct& product);
};

struct ProductQueue {
  std::vector<WarpgroupProduct> started;
  bool fenced = false, committed = true;
};

}  // namespace residuum::emulator
