// That the four warps of a warpgroup multiply together: wgmma wants the same instruction with the same
// descriptors of all of them, and waits for ever for one that does something else.
#include "tests/emulator/grid.h"

namespace residuum::emulator {

void ProductLog::add(const WarpgroupProduct& product) {
  const uint64_t shape = static_cast<uint64_t>(product.eights) << 32 |
                         static_cast<uint64_t>(product.row_bytes) << 16 |
                         static_cast<uint64_t>(product.left_bytes) << 2 |
                         static_cast<uint64_t>(product.is_bf16) << 1 | static_cast<uint64_t>(product.flat);
  ++count;
  for (const kernels::SharedFactor& factor : {product.rows, product.b}) {
    for (const uint64_t part : {static_cast<uint64_t>(factor.start), static_cast<uint64_t>(factor.leading),
                                static_cast<uint64_t>(factor.stride), shape}) {
      mix = (mix ^ part) * 0x100000001B3u;  // FNV-1a, of words
    }
  }
}

void check_warpgroups(const Block& block) {
  constexpr size_t kWarps = 4;
  for (size_t warp = 0; warp < block.warps.size(); ++warp) {
    const size_t first = warp / kWarps * kWarps;
    const ProductLog &products = block.warps[warp].products, &others = block.warps[first].products;
    if (products != others) {
      fault("wgmma: warps " + std::to_string(first) + " and " + std::to_string(warp) +
            " of a warpgroup have not carried out the same products");
    }
    if (products.count > 0 && first + kWarps > block.warps.size())
      fault("wgmma: a warpgroup of less than four warps");
  }
}

}  // namespace residuum::emulator
