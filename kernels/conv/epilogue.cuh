// The end of a convolution's tile, of every kind of block: a warp's sums become units of eight channels of
// one pixel (conv/units.cuh), which are finished and stored (conv/result.cuh); what is summed of them per
// channel is kept from tile to tile and joined when the block's run is over. How many rows there are and
// which pixel each of them is, `rows` says. No warp waits for another but in the first tile of a run that has
// statistics, and at the end.
#pragma once

#include <algorithm>

#include "kernels/conv/geometry.h"
#include "kernels/conv/result.cuh"
#include "kernels/conv/units.cuh"

namespace residuum::kernels {

/// Where a block's sums per channel go: its number among the parts that share a counter.
struct RunPlace {
  int part, parts, counter;
};

/// The results of one block. Traits: kTile, its warps arranged; first_column(), of the block within its
/// group; kPermuted, whether columns of the product are channels in the order of channel_of_column();
/// kBackward, kWhole (conv/result.cuh); kRegisterSums, the most numbers a thread keeps in registers;
/// kPlainPath, whether results that have statistics and nothing else have a path of their own: it takes half
/// the instructions, and 16 registers for every 32 columns of a warp.
template <typename T, typename Traits>
class ConvEpilogue {
 public:
  static constexpr Tile kTile = Traits::kTile;
  static constexpr int kThreads = kTile.threads();
  static constexpr int kRowFragments = kTile.warp_rows() / 16;
  static constexpr int kColumnFragments = kTile.warp_columns() / 8;
  static_assert(kColumnFragments % 2 == 0);
  using Sums = float[kRowFragments][kColumnFragments][4];

  /// `memory`: conv_result_bytes, not touched where results are only stored.
  __device__ __forceinline__ ConvEpilogue(const ConvGeometry& g, const ConvResult& result, int group,
                                          unsigned char* memory)
      : g_(g),
        result_(result, group * g.columns + Traits::first_column(), g.columns - Traits::first_column(),
                g.dst_c, memory) {}

  /// Fills the shared vectors; a barrier must follow.
  __device__ __forceinline__ void stage() { result_.stage(); }
  /// Whether there are sums per channel.
  __device__ __forceinline__ bool has_sums() const { return result_.sums() > 0; }

  /// Asks for what finishing a tile's results will read; its first row is `first`.
  template <typename Rows>
  __device__ __forceinline__ void prefetch(const Rows& rows, int first) const {
    constexpr int kLineChannels = 128 / static_cast<int>(sizeof(T)), kLines = kTile.columns / kLineChannels;
    if constexpr (kLines > 0) {
      if (!result_.reads()) return;
      for (int i = thread(); i < kTile.rows * kLines; i += kThreads) {
        const int row = first + i / kLines, column = i % kLines * kLineChannels;
        if (row < rows.all() && column < g_.columns - Traits::first_column()) {
          result_.prefetch(rows.dst(row), column);
        }
      }
    }
  }

  /// Finishes and stores the sums of a tile, which are lost; of its run, the tile with that number.
  template <typename Rows>
  __device__ __forceinline__ void store(Sums& sums, const Rows& rows, int first, int tile) {
    if (result_.has_statistics() && tile == 0) set_shift(sums, rows, first);
    const unsigned thread = computed_here(threadIdx.x);
    const int lane = static_cast<int>(thread % kWarp), warp = static_cast<int>(thread / kWarp);
    const int warp_row = warp / kTile.warps_n * kTile.warp_rows();
    const int warp_column = warp % kTile.warps_n * kTile.warp_columns();
    const int first_row = first + warp_row;
    if (kPlainPath && result_.only_has_statistics()) {
      return store_plain(sums, rows, first_row, warp_column, lane);
    }
    // One group after the other comes to the front: written out for each of them, a wide tile's end is tens
    // of kilobytes of instructions.
#pragma unroll 1
    for (int group = 0; group < Units::kGroups; ++group) {
      const int column = warp_column + Units::column(lane, group);
      Reads reads[kReadsAtOnce];
      if constexpr (kReadsAtOnce > 1) {
#pragma unroll
        for (int f = 0; f < kRowFragments; ++f) {
          load_units(rows, first_row + 16 * f, column, lane, reads + f * Units::kHalves);
        }
      }
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) {
        Reads* const own = reads + (kReadsAtOnce > 1 ? f * Units::kHalves : 0);
        store_units(rows, first_row + 16 * f, column, group, sums[f], lane, own);
        Units::next_group(sums[f]);
      }
    }
  }
  /// Sums of all warps, then of the block's run; `work`, the place of the operands (conv_work_bytes), is free
  /// once all threads have come here.
  template <typename Rows>
  __device__ __forceinline__ void finish_sums(unsigned char* work, const Rows& rows, const RunPlace& place) {
    constexpr int kWarpsM = kTile.warps_m;
    __syncthreads();
    double* const totals = reinterpret_cast<double*>(work);
    double* const scratch = totals + kMostSums * kTile.columns;
    float* const of_warps = reinterpret_cast<float*>(scratch + kThreads);
    if (kPlainPath && result_.only_has_statistics()) add_lanes();
    if (Units::owns_total(lane())) {
#pragma unroll
      for (int s = 0; s < kMostSums; ++s) {
        if (s >= result_.sums()) break;
#pragma unroll
        for (int group = 0; group < Units::kGroups; ++group) {
          const int column = warp_column() + Units::column(lane(), group) + lane() / 4;
          of_warps[(warp() / kTile.warps_n * kMostSums + s) * kTile.columns + column] = run_sum(s, group);
        }
      }
    }
    __syncthreads();
    result_.add_warps(kWarpsM, totals,
                      [&](int w, int s, int c) { return of_warps[(w * kMostSums + s) * kTile.columns + c]; });
    __syncthreads();
    // Statistics, which alone ask for the rows of a part, are of the forward pass: one class.
    const auto rows_of = [&](int part) {
      const int step = g_.run * kTile.rows;
      return static_cast<double>(min(step, rows.all() - part * step));
    };
    result_.finish_run(totals, place.part, place.parts, place.counter, rows.all(), rows_of, scratch);
  }

 private:
  using Units = WarpUnits<kColumnFragments, Traits::kPermuted>;
  static constexpr int kMostSums = most_sums(Traits::kBackward), kRunSums = kMostSums * Units::kGroups;
  static constexpr int kRegisterSums = std::min(kRunSums, Traits::kRegisterSums);
  static constexpr bool kPlainPath = Traits::kPlainPath;
  using Result =
      ResultBlock<T, kTile.columns, kThreads, kRunSums - kRegisterSums, Traits::kWhole, Traits::kBackward>;
  using Reads = typename Result::Operands;
  /// Units whose reads are under way at once: those of all rows, where two are all and few sums leave
  /// registers for it.
  static constexpr int kRowUnits = kRowFragments * Units::kHalves;
  static constexpr int kReadsAtOnce =
      kRowUnits <= 2 && kRowFragments * kColumnFragments * 4 <= 32 ? kRowUnits : 1;

  /// Said to be below kThreads: divisions are then shifts, cheaper to repeat than to keep in registers.
  __device__ __forceinline__ static int thread() {
    return static_cast<int>(threadIdx.x % kThreads);
  }
  __device__ __forceinline__ static int lane() {
    return thread() % 32;
  }
  __device__ __forceinline__ static int warp() {
    return thread() / 32;
  }
  __device__ __forceinline__ static int warp_column() {
    return warp() % kTile.warps_n * kTile.warp_columns();
  }

  /// Whether half `h` of a lane's units is one of the results.
  template <typename Rows>
  __device__ __forceinline__ bool exists(const Rows& rows, int first_row, int column, int lane, int h) const {
    return first_row + Units::row(lane, h) < rows.all() && column < g_.columns - Traits::first_column();
  }
  /// Loads what finishing both halves reads.
  template <typename Rows>
  __device__ __forceinline__ void load_units(const Rows& rows, int first_row, int column, int lane,
                                             Reads* reads) const {
#pragma unroll
    for (int h = 0; h < Units::kHalves; ++h) {
      if (!exists(rows, first_row, column, lane, h)) continue;
      result_.load(rows.dst(first_row + Units::row(lane, h)), column, reads[h]);
    }
  }
  /// The units of a lane in one column group of a row fragment. What was stored takes the place of the
  /// product, and sums per channel are formed one after the other from there: in registers there is room for
  /// no more.
  template <typename Rows>
  __device__ __forceinline__ void store_units(const Rows& rows, int first_row, int column, int group,
                                              float (&products)[kColumnFragments][4], int lane,
                                              Reads* reads) {
    float of_norm[kUnit] = {};
    const auto exists = [&](int h) { return this->exists(rows, first_row, column, lane, h); };
#pragma unroll
    for (int h = 0; h < Units::kHalves; ++h) {
      alignas(16) float values[kUnit];
      Units::take(products, h, lane, values);
      Reads& read = reads[kReadsAtOnce > 1 ? h : 0];
      if (exists(h)) {
        const int dst = rows.dst(first_row + Units::row(lane, h));
        if constexpr (kReadsAtOnce == 1) result_.load(dst, column, read);
        result_.finish(dst, column, read, values);
      }
      Units::put(values, h, products);
      if constexpr (Traits::kBackward) {
        if (result_.has_norm(0) && exists(h)) result_.multiply_norm(0, column, values, read, of_norm);
        if (!result_.has_norm(1)) continue;
        float of_second[kUnit] = {};
        if (exists(h)) result_.multiply_norm(1, column, values, read, of_second);
        add_to_run(2, group, Units::total(of_second, lane));
      }
    }
    if (result_.sums() == 0) return;
    if constexpr (Traits::kBackward) add_to_run(1, group, Units::total(of_norm, lane));
#pragma unroll
    for (int power = 1; power <= (Traits::kBackward ? 1 : 2); ++power) {
      float terms[kUnit] = {};
#pragma unroll
      for (int h = 0; h < Units::kHalves; ++h) {
        if (exists(h)) result_.add_power(power, column, Units::got(products, h), terms);
      }
      add_to_run(power - 1, group, Units::total(terms, lane));
    }
  }

  /// The end of a warp's tile whose results have statistics and nothing else, as nearly all of a training
  /// step have: the general way asks so much of each unit that it takes twice the instructions.
  template <typename Rows>
  __device__ __forceinline__ void store_plain(Sums& sums, const Rows& rows, int first_row, int warp_column,
                                              int lane) {
    const int first_column = warp_column + Units::column(lane, 0);
    T* to[kRowFragments][Units::kHalves];
    const auto row = [&](int f, int h) { return first_row + 16 * f + Units::row(lane, h); };
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) {
#pragma unroll
      for (int h = 0; h < Units::kHalves; ++h) to[f][h] = result_.place(rows.dst(row(f, h)), first_column);
    }
#pragma unroll
    for (int group = 0; group < Units::kGroups; ++group) {
      const int column = group * kQuadColumns;
      const bool has_column = first_column + column < g_.columns - Traits::first_column();
      float shift[kUnit];
      result_.load_shift(first_column + column, shift);
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) {
#pragma unroll
        for (int h = 0; h < Units::kHalves; ++h) {
          float values[kUnit];
          Units::take(sums[f], h, lane, values);
          if (!has_column || row(f, h) >= rows.all()) continue;
          result_.store_plain(values, to[f][h] + column, shift, lane_sums_[0][group], lane_sums_[1][group]);
        }
        Units::next_group(sums[f]);
      }
    }
  }

  // Sum `s` of the tiles so far in column group `group`, this lane's share of its warp.
  __device__ __forceinline__ void add_to_run(int s, int group, float value) {
    const int number = s * Units::kGroups + group;
    if (number >= kRegisterSums) result_.kept(number - kRegisterSums) += value;
#pragma unroll
    for (int n = 0; n < kRegisterSums; ++n) {
      if (number == n) run_sums_[n] += value;
    }
  }
  __device__ __forceinline__ float run_sum(int s, int group) const {
    const int number = s * Units::kGroups + group;
    return number < kRegisterSums ? run_sums_[number] : result_.kept(number - kRegisterSums);
  }

  /// The sums of the run out of what the lanes have of them.
  __device__ __forceinline__ void add_lanes() {
#pragma unroll
    for (int s = 0; s < kMostSums; ++s) {
#pragma unroll
      for (int group = 0; group < Units::kGroups; ++group) {
        add_to_run(s, group, Units::total(lane_sums_[s][group], lane()));
      }
    }
  }

  /// From the first row of the run: its first warps have it.
  template <typename Rows>
  __device__ __forceinline__ void set_shift(const Sums& sums, const Rows& rows, int first) {
    const int thread = static_cast<int>(computed_here(threadIdx.x));
    if (thread / 32 < kTile.warps_n && thread % 32 < kQuad) {
#pragma unroll
      for (int q = 0; q < kColumnFragments; ++q) {
        const int column = thread / 32 * kTile.warp_columns() + Units::column_of_pair(thread % 32, q);
        result_.shift(column) = sums[0][q][0];
        result_.shift(column + 1) = sums[0][q][1];
      }
    }
    __syncthreads();
    if (thread < kTile.columns) result_.finish_shift(thread, rows.dst(first));
    __syncthreads();
  }

  const ConvGeometry& g_;
  Result result_;
  float run_sums_[kRegisterSums > 0 ? kRegisterSums : 1] = {};
  float lane_sums_[kPlainPath ? kMostSums : 1][kPlainPath ? Units::kGroups : 1][kUnit] = {};
};

}  // namespace residuum::kernels
