// What blocks of backward-filter do with their sums: join those of all pieces, and store the total.
#pragma once

#include "kernels/conv_backward_filter/rows.cuh"
#include "kernels/device/sum_tree.cuh"

namespace residuum::kernels {

/// True in the block that then has the sums of all pieces of its tile. exists(f, q): whether the first of the
/// four sums of a fragment does; the others are 1 column, 8 rows and both further.
template <int kThreads, int kRows, int kColumns, typename Exists>
__device__ __forceinline__ bool join_pieces(float (&sums)[kRows][kColumns][4], const FilterGeometry& g,
                                            const FilterArrays& arrays, const FilterPart& part,
                                            const Exists& exists) {
  if (g.pieces == 1) return true;
  const int64_t tile = (int64_t{part.group} * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  constexpr int64_t kSlot = int64_t{kThreads} * kRows * kColumns;
  return join_sums<kThreads>(sums, part.piece, g.pieces, arrays.partial + tile * g.tree.slots * kSlot,
                             arrays.counters + tile * g.tree.groups, exists);
}

/// weight_of(column): the column of a group's weights, which have `pitch` of them; negative: none.
template <int kRows, int kColumns, typename RowOf, typename ColumnOf, typename WeightOf>
__device__ __forceinline__ void store_sums(const float (&sums)[kRows][kColumns][4], int rows, int pitch,
                                           float* d_weight, const RowOf& row_of, const ColumnOf& column_of,
                                           const WeightOf& weight_of) {
#pragma unroll
  for (int f = 0; f < kRows; ++f) {
#pragma unroll
    for (int q = 0; q < kColumns; ++q) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = row_of(f) + 8 * (i >> 1), weight = weight_of(column_of(q) + (i & 1));
        if (row < rows && weight >= 0) d_weight[static_cast<int64_t>(row) * pitch + weight] = sums[f][q][i];
      }
    }
  }
}

}  // namespace residuum::kernels
