// Convolution forward and backward-data as one implicit matrix product on tensor cores: rows are output
// pixels, columns output channels, the sum runs over channels (outer) and taps (inner). Source pixels reach
// shared memory as a patch: either the tile's own pixels for one tap (gather) or, read once for all taps, the
// run of pixels in memory order that the taps touch (halo). A lane finds tap t of its pixel at a fixed
// distance in the patch; where that is padding it reads a row of zeros instead, so whatever a prologue
// (conv_source.cuh) does to the patch, padding stays zero. Results leave through an epilogue
// (conv_result.cuh) in units of eight channels of one pixel. A block handles a run of tiles of rows as one
// sequence of steps: loads run ahead of the product across the borders of tiles, the operands of the next
// step are formed while this one is multiplied, and one barrier a step is all that the warps wait for.
#pragma once

#include "kernels/conv_operands.cuh"
#include "kernels/conv_result.cuh"

namespace residuum::kernels {

/// One block's work.
template <TileName kName, typename T, F32Math kMath, bool kBackwardData, Patch kPatch, Prologue kPrologue,
          Product kProduct>
class ConvBlock {
 public:
  __device__ __forceinline__ ConvBlock(const ConvGeometry& g, const ConvSource& source, const T* weight,
                                       const ConvResult& result, unsigned char* shared)
      : g_(g),
        operands_(g, source, weight, shared),
        result_(result, operands_.group() * g.columns + Operands::first_column(),
                g.columns - Operands::first_column(), g.dst_c,
                shared + conv_shared_bytes(g, tile_of(kName), sizeof(T))) {}

  __device__ __forceinline__ bool has_work() const { return operands_.run_first() < operands_.rows().all(); }

  /// What needs no global memory; a barrier must follow.
  __device__ __forceinline__ void fill_tables() { operands_.fill_tables(); }
  /// A parity class without taps has steps all the same: of zeros.
  __device__ __forceinline__ void run() {
    __syncthreads();
    operands_.begin();
    clear(sums_);
    operands_.stage();
    result_.stage();
    __syncthreads();
    operands_.prepare_first();
    __syncthreads();
    Cursor now;
    while (true) {
      LeftFactors factors;
      start(now, factors);
      operands_.load_ahead(now);
      if (now.begins_tile()) begin_tile(now.tile);
      operands_.next(now);
      if (now.tile < operands_.tiles()) operands_.prepare(now);
      finish(factors);
      if (now.begins_tile()) {
        store(now.tile - 1);
        if (now.tile == operands_.tiles()) break;
        clear(sums_);
      }
      if (operands_.waits(now)) __syncthreads();
    }
    cp_async_wait<0>();
    if (result_.sums() > 0) finish_sums();
  }

 private:
  using Operands = ConvOperands<kName, T, kBackwardData, kPatch, kPrologue, kProduct>;
  using Cursor = ConvCursor;
  static constexpr Tile kTile = Operands::kTile;
  static constexpr int kThreads = kTile.threads();
  static constexpr int kRowFragments = kTile.warp_rows() / 16;
  static constexpr int kColumnFragments = kTile.warp_columns() / 8;
  static_assert(kColumnFragments % 2 == 0);

  /// Warpgroups read a tile's own pixels from shared memory themselves; of a patch for all taps, each lane
  /// finds its own.
  static constexpr bool kSharedLeft = kProduct == Product::kWarpgroup && kPatch == Patch::kGather;
  using FactorA = Factor<T, kMath, 4>;
  static constexpr int kSteps = kTile.depth / FactorA::kDepth;
  using LeftFactors = StepFactors<T, kMath, kSteps, kRowFragments>;
  using WeightFactor = std::conditional_t<
      kProduct == Product::kWarpgroup,
      WarpgroupFactor<T, kMath, kBackwardData, kBackwardData ? 128 : Operands::kDepthBytes, kTile.depth>,
      std::conditional_t<kBackwardData, FlatFactor<T, kMath, Operands::kColumnChunks>,
                         DeepFactor<T, kMath, Operands::kDepthChunks>>>;

  using Units = WarpUnits<kColumnFragments, Operands::kPermuted>;
  static constexpr bool kWholeResults = sizeof(T) == 2 && kPatch != Patch::kElements;
  static constexpr int kMostSums = most_sums(kBackwardData), kRunSums = kMostSums * Units::kGroups;
  static constexpr int kRegisterSums =
      std::min(kRunSums, register_sums(kTile, kBackwardData, kPatch == Patch::kHalo));
  using Result =
      ResultBlock<T, kTile.columns, kThreads, kRunSums - kRegisterSums, kWholeResults, kBackwardData>;

  __device__ __forceinline__ static int thread() { return Operands::thread(); }
  __device__ __forceinline__ static int lane() { return thread() % 32; }
  __device__ __forceinline__ static int warp() { return thread() / 32; }
  __device__ __forceinline__ static int warp_row() { return warp() / kTile.warps_n * kTile.warp_rows(); }
  __device__ __forceinline__ static int warp_column() {
    return warp() % kTile.warps_n * kTile.warp_columns();
  }

  /// What can be done in a tile's first step for later: the rows of a tile that the loads have not reached,
  /// and asking for what finishing this tile's results reads.
  __device__ __forceinline__ void begin_tile(int tile) {
    operands_.fill_rows(tile);
    constexpr int kLineChannels = 128 / static_cast<int>(sizeof(T)), kLines = kTile.columns / kLineChannels;
    if constexpr (kLines > 0) {
      if (!result_.reads()) return;
      for (int i = thread(); i < kTile.rows * kLines; i += kThreads) {
        const int row = operands_.first_row(tile) + i / kLines, column = i % kLines * kLineChannels;
        if (row < operands_.rows().all() && column < g_.columns - Operands::first_column()) {
          result_.prefetch(operands_.rows().dst(row), column);
        }
      }
    }
  }

  /// Where this lane reads row fragment `f` of the patch for a tap.
  __device__ __forceinline__ SharedAddress patch_lane(const Cursor& at, SharedAddress patch, int f,
                                                      const Tap& tap) const {
    const int lane = computed_here(this->lane()), chunk = lane / 16, r = warp_row() + lane % 16 + 16 * f;
    if constexpr (kPatch != Patch::kHalo) {
      return deep_lane<Operands::kDepthChunks>(patch, r, chunk);
    } else {
      // From shared memory at every tap: kept in registers, two numbers a fragment make the wide tile spill.
      const auto& rows = operands_.rows();
      const Row row = rows.table(at.tile)[r];
      if (!rows.inside(row.position, tap)) {
        return deep_lane<Operands::kDepthChunks>(shared_address(rows.zeros()), 0, chunk);
      }
      return deep_lane<Operands::kDepthChunks>(patch, row.src - rows.lowest(at.tile) + tap.distance, chunk);
    }
  }

  /// Starts the products of a step; of warps, also ends them.
  __device__ __forceinline__ void start(const Cursor& at, [[maybe_unused]] LeftFactors& factors) {
    const SharedAddress patch = operands_.patch(at);
    const WeightFactor weights(operands_.weights(at), warp_column(), lane());
    if constexpr (kSharedLeft) {
      const SharedAddress rows = patch + static_cast<SharedAddress>(warp() / 4 * 64 * Operands::kDepthBytes);
      start_products<kSteps, Operands::kDepthBytes>(sums_, rows, weights);
    } else {
      const Tap tap = operands_.tap(at);
      SharedAddress pixel[kRowFragments];
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) pixel[f] = patch_lane(at, patch, f, tap);
      const auto left = [&](auto& a, int step, int f) { load_deep_rows(a, pixel[f], step); };
      if constexpr (kProduct == Product::kWarpgroup) {
        start_products(sums_, factors, weights, left);
      } else {
        multiply_steps<kSteps>(sums_, weights, left);
      }
    }
  }
  __device__ __forceinline__ void finish([[maybe_unused]] LeftFactors& factors) {
    if constexpr (kSharedLeft) {
      finish_products(sums_);
    } else if constexpr (kProduct == Product::kWarpgroup) {
      finish_products(sums_, factors);
    }
  }

  /// Finishes and stores the results of a tile; no warp waits for another but at the first tile of a run that
  /// has statistics.
  __device__ __forceinline__ void store(int tile) {
    if (result_.has_statistics() && tile == 0) set_shift();
    const int thread = computed_here(Operands::thread()), lane = thread % 32;
    const int warp = thread / 32, warp_row = warp / kTile.warps_n * kTile.warp_rows();
    const int warp_column = warp % kTile.warps_n * kTile.warp_columns();
    const int first_row = operands_.first_row(tile) + warp_row;
    // One group after the other comes to the front: written out for each of them, a tile's end is tens of
    // kilobytes of instructions.
#pragma unroll 1
    for (int group = 0; group < Units::kGroups; ++group) {
      const int column = warp_column + Units::column(lane, group);
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) {
        store_units(first_row + 16 * f, column, group, sums_[f], lane);
        Units::next_group(sums_[f]);
      }
    }
  }
  /// The units of a lane in one column group of a row fragment. What was stored takes the place of the
  /// product, and sums per channel are formed one after the other from there: in registers there is room for
  /// no more.
  __device__ __forceinline__ void store_units(int first_row, int column, int group,
                                              float (&products)[kColumnFragments][4], int lane) {
    float of_norm[kUnit] = {};
    const auto exists = [&](int h) {
      return first_row + Units::row(lane, h) < operands_.rows().all() &&
             column < g_.columns - Operands::first_column();
    };
#pragma unroll
    for (int h = 0; h < Units::kHalves; ++h) {
      alignas(16) float values[kUnit];
      Units::take(products, h, lane, values);
      typename Result::Operands read;
      if (exists(h)) {
        const int dst = operands_.rows().dst(first_row + Units::row(lane, h));
        result_.load(dst, column, read);
        result_.finish(dst, column, read, values);
      }
      Units::put(values, h, products);
      if constexpr (kBackwardData) {
        if (result_.has_norm(0) && exists(h)) result_.multiply_norm(0, column, values, read, of_norm);
        if (!result_.has_norm(1)) continue;
        float of_second[kUnit] = {};
        if (exists(h)) result_.multiply_norm(1, column, values, read, of_second);
        add_to_run(2, group, Units::total(of_second, lane));
      }
    }
    if (result_.sums() == 0) return;
    if constexpr (kBackwardData) add_to_run(1, group, Units::total(of_norm, lane));
#pragma unroll
    for (int power = 1; power <= (kBackwardData ? 1 : 2); ++power) {
      float terms[kUnit] = {};
#pragma unroll
      for (int h = 0; h < Units::kHalves; ++h) {
        if (exists(h)) result_.add_power(power, column, Units::got(products, h), terms);
      }
      add_to_run(power - 1, group, Units::total(terms, lane));
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

  /// From the first row of the run: its first warps have it.
  __device__ __forceinline__ void set_shift() {
    const int thread = computed_here(Operands::thread());
    if (thread / 32 < kTile.warps_n && thread % 32 < kQuad) {
#pragma unroll
      for (int q = 0; q < kColumnFragments; ++q) {
        const int column = thread / 32 * kTile.warp_columns() + Units::column_of_pair(thread % 32, q);
        result_.shift(column) = sums_[0][q][0];
        result_.shift(column + 1) = sums_[0][q][1];
      }
    }
    __syncthreads();
    if (thread < kTile.columns) result_.finish_shift(thread, operands_.rows().dst(operands_.first_row(0)));
    __syncthreads();
  }

  /// Sums of all warps, then of the block's run; the place of the operands is free.
  __device__ __forceinline__ void finish_sums() {
    constexpr int kWarpsM = kTile.warps_m;
    __syncthreads();
    double* const totals = reinterpret_cast<double*>(operands_.work());
    double* const scratch = totals + kMostSums * kTile.columns;
    float* const of_warps = reinterpret_cast<float*>(scratch + kThreads);
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
      return static_cast<double>(min(step, operands_.rows().all() - part * step));
    };
    const int part = g_.first_part(operands_.parity(), kTile.rows) + Operands::run_number();
    const int column_counter = operands_.group() * g_.column_tiles(kTile.columns) + Operands::column_tile();
    result_.finish_run(totals, part, g_.first_part(g_.classes(), kTile.rows), column_counter,
                       operands_.rows().all(), rows_of, scratch);
  }

  const ConvGeometry& g_;
  Operands operands_;
  Result result_;
  float sums_[kRowFragments][kColumnFragments][4];
  float run_sums_[kRegisterSums > 0 ? kRegisterSums : 1] = {};
};

/// Blocks that shall fit a multiprocessor. A patch for all taps takes up to half of an H100's 227 KB, and
/// more than half of an A100's 163 KB.
constexpr int wanted_blocks(TileName name, [[maybe_unused]] Patch patch) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  if (patch == Patch::kHalo) return 1;
#endif
  return tile_of(name).blocks;
}

template <TileName kName, typename T, F32Math kMath, bool kBackwardData, Patch kPatch, Prologue kPrologue,
          Product kProduct>
__global__ void __launch_bounds__(tile_of(kName).threads(), wanted_blocks(kName, kPatch))
    conv_kernel(const ConvGeometry g, const ConvSource source, const T* weight, const ConvResult result) {
  if constexpr (compiles_here<T>(kName, kProduct)) {
    DYNAMIC_SHARED(shared);
    ConvBlock<kName, T, kMath, kBackwardData, kPatch, kPrologue, kProduct> block(g, source, weight, result,
                                                                                 shared);
    block.fill_tables();
    grid_dependency_wait();
    grid_dependency_trigger();
    if (block.has_work()) block.run();
  }
}

}  // namespace residuum::kernels
