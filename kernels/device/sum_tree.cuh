// The device's part of kernels/sum_tree.h for sums that lie in the fragments of tensor cores. Each thread of
// a block reads only what the same thread of other blocks wrote, so a slot is laid out for coalescing alone:
// [slot][fragment][thread] of four floats.
#pragma once

#include "kernels/device/reduce.cuh"
#include "kernels/sum_tree.h"

namespace residuum::kernels {

/// sums = those of `count` slots, added in their order; slot `own` is `sums` itself.
template <int kThreads, int kRows, int kColumns, typename Exists>
__device__ __forceinline__ void add_slots(float (&sums)[kRows][kColumns][4], const float4* slots, int own,
                                          int count, const Exists& exists) {
  constexpr int64_t kSlot = int64_t{kThreads} * kRows * kColumns;
#pragma unroll
  for (int f = 0; f < kRows; ++f) {
#pragma unroll
    for (int q = 0; q < kColumns; ++q) {
      if (!exists(f, q)) continue;
      const float4* const from = slots + (f * kColumns + q) * kThreads + threadIdx.x;
      float(&sum)[4] = sums[f][q];
      float4 parts[kSumRadix];
#pragma unroll
      for (int m = 0; m < kSumRadix; ++m) {
        parts[m] = make_float4(sum[0], sum[1], sum[2], sum[3]);
        if (m < count && m != own) parts[m] = from[m * kSlot];
      }
      float4 total = parts[0];
#pragma unroll
      for (int m = 1; m < kSumRadix; ++m) {
        if (m >= count) continue;
        total.x += parts[m].x, total.y += parts[m].y, total.z += parts[m].z, total.w += parts[m].w;
      }
      sum[0] = total.x, sum[1] = total.y, sum[2] = total.z, sum[3] = total.w;
    }
  }
}

/// Joins the sums of `pieces` blocks, of which this one has number `piece`. True in the one block that then
/// holds the total in `sums`. `slots` and `counters` are those of sum_tree(pieces); exists(f, q) tells which
/// of this thread's fragments have anything in them.
template <int kThreads, int kRows, int kColumns, typename Exists>
__device__ __forceinline__ bool join_sums(float (&sums)[kRows][kColumns][4], int piece, int pieces,
                                          float4* slots, unsigned* counters, const Exists& exists) {
  constexpr int64_t kSlot = int64_t{kThreads} * kRows * kColumns;
  int member = piece;
#pragma unroll 1
  for (int members = pieces; members > 1; members = sum_groups(members)) {
    const int group = member / kSumRadix, count = min(kSumRadix, members - group * kSumRadix);
    if (count > 1) {
      float4* const slot = slots + member * kSlot;
#pragma unroll
      for (int f = 0; f < kRows; ++f) {
#pragma unroll
        for (int q = 0; q < kColumns; ++q) {
          const float(&sum)[4] = sums[f][q];
          if (!exists(f, q)) continue;
          slot[(f * kColumns + q) * kThreads + threadIdx.x] = make_float4(sum[0], sum[1], sum[2], sum[3]);
        }
      }
      if (!is_last_block(counters + group, static_cast<unsigned>(count))) return false;
      add_slots<kThreads>(sums, slots + group * (kSumRadix * kSlot), member % kSumRadix, count, exists);
    }
    slots += joined_members(members) * kSlot;
    counters += sum_groups(joined_members(members));
    member = group;
  }
  return true;
}

}  // namespace residuum::kernels
