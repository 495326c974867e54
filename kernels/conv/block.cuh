// Convolution forward and backward-data as one implicit matrix product on tensor cores: rows are output
// pixels, columns output channels, the sum runs over channels (outer) and taps (inner). Source pixels reach
// shared memory as a patch: either the tile's own pixels for one tap (gather) or, read once for all taps, the
// run of pixels in memory order that the taps touch (halo). A lane finds tap t of its pixel at a fixed
// distance in the patch; where that is padding it reads a row of zeros instead, so whatever a prologue
// (conv/source.cuh) does to the patch, padding stays zero. Results leave through an epilogue
// (conv/epilogue.cuh) in units of eight channels of one pixel. A block handles a run of tiles of rows as one
// sequence of steps: loads run ahead of the product across the borders of tiles, the operands of the next
// step are formed while this one is multiplied, and one barrier a step is all that the warps wait for. Where
// the weights of all taps fit beside a patch (resident), all of them are multiplied before anything is
// waited for again: a step of its own for each would take longer than its product.
#pragma once

#include "kernels/conv/epilogue.cuh"
#include "kernels/conv/operands.cuh"

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
        epilogue_(g, result, operands_.group(), shared + conv_shared_bytes(g, tile_of(kName), sizeof(T))) {}

  __device__ __forceinline__ bool has_work() const { return operands_.run_first() < operands_.rows().all(); }

  /// What needs nothing of the launch before this one.
  __device__ __forceinline__ void begin_early() {
    operands_.fill_tables();
    __syncthreads();
    if constexpr (kPatch == Patch::kResident) {
      if (g_.early_weights && has_work()) operands_.load_all_weights();
    }
  }
  /// A parity class without taps has steps all the same: of zeros.
  __device__ __forceinline__ void run() {
    operands_.begin();
    clear(sums_);
    operands_.stage();
    epilogue_.stage();
    __syncthreads();
    operands_.prepare_first();
    __syncthreads();
    if constexpr (kPatch == Patch::kResident) {
      run_patches();
    } else {
      run_steps();
    }
    cp_async_wait<0>();
    if (epilogue_.has_sums()) epilogue_.finish_sums(operands_.work(), operands_.rows(), place());
  }

 private:
  using Operands = ConvOperands<kName, T, kBackwardData, kPatch, kPrologue, kProduct>;
  using Cursor = ConvCursor;
  static constexpr Tile kTile = Operands::kTile;
  static constexpr int kRowFragments = kTile.warp_rows() / 16;
  static constexpr int kColumnFragments = kTile.warp_columns() / 8;

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

  struct Results {
    static constexpr Tile kTile = ConvBlock::kTile;
    static constexpr bool kPermuted = Operands::kPermuted, kBackward = kBackwardData;
    static constexpr bool kWhole = sizeof(T) == 2 && kPatch != Patch::kElements;
    static constexpr bool kPlainPath = kWhole && !kBackwardData && kPatch == Patch::kResident;
    static constexpr int kRegisterSums = register_sums(kTile, kBackwardData, kPatch);
    __device__ __forceinline__ static int first_column() { return Operands::first_column(); }
  };

  /// Step after step: the operands of the next one are made ready while this one is multiplied.
  __device__ __forceinline__ void run_steps() {
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
        const int done = now.tile - 1;
        epilogue_.store(sums_, operands_.rows(), operands_.first_row(done), done);
        if (now.tile == operands_.tiles()) break;
        clear(sums_);
      }
      __syncthreads();
    }
  }
  /// Patch after patch, each for all taps: nothing but a patch is waited for.
  __device__ __forceinline__ void run_patches() {
    Cursor now;
    while (true) {
      const Cursor next = operands_.next_patch(now);
      const bool more = next.tile < operands_.tiles();
      if (more && operands_.has_room_ahead()) operands_.load_whole(next);
      if (now.begins_tile()) begin_tile(now.tile);
      multiply_taps(now);
      if (more && !operands_.has_room_ahead()) {
        __syncthreads();
        operands_.load_whole(next);
      }
      if (next.begins_tile()) {
        epilogue_.store(sums_, operands_.rows(), operands_.first_row(now.tile), now.tile);
        if (!more) break;
        clear(sums_);
      }
      operands_.prepare_whole(next);
      __syncthreads();
      now = next;
    }
  }

  __device__ __forceinline__ static int lane() { return static_cast<int>(threadIdx.x % kWarp); }
  __device__ __forceinline__ static int warp() { return static_cast<int>(threadIdx.x / kWarp); }
  __device__ __forceinline__ static int warp_row() { return warp() / kTile.warps_n * kTile.warp_rows(); }
  __device__ __forceinline__ static int warp_column() {
    return warp() % kTile.warps_n * kTile.warp_columns();
  }

  /// What can be done in a tile's first step for later: the rows of a tile that the loads have not reached,
  /// and asking for what finishing this tile's results reads.
  __device__ __forceinline__ void begin_tile(int tile) {
    operands_.fill_rows(tile);
    epilogue_.prefetch(operands_.rows(), operands_.first_row(tile));
  }

  /// This lane's row of row fragment `f`.
  __device__ __forceinline__ int row_of_lane(int f) const {
    return warp_row() + static_cast<int>(computed_here(threadIdx.x) % 16) + 16 * f;
  }
  __device__ __forceinline__ Row known_row(int tile, int f) const {
    return operands_.rows().table(tile)[row_of_lane(f)];
  }
  /// Where this lane reads its row of a patch for all taps: padding in a row of zeros, from the banks that
  /// its own row would be read from, which the lanes beside it leave free.
  __device__ __forceinline__ SharedAddress patch_lane(SharedAddress patch, const Row& row,
                                                      const Tap& tap) const {
    const auto& rows = operands_.rows();
    const int chunk = lane() / 16;
    const SharedAddress inside = deep_lane<Operands::kDepthChunks>(patch, row.src + tap.distance, chunk);
    const SharedAddress zeros = shared_address(rows.zeros()) + inside % SharedAddress{kZeroBytes};
    return rows.inside(row.position, tap) ? inside : zeros;
  }

  /// Starts the products of a step; of warps, also ends them.
  __device__ __forceinline__ void start(const Cursor& at, [[maybe_unused]] LeftFactors& factors) {
    const SharedAddress patch = operands_.patch(at);
    if constexpr (kSharedLeft) {
      const WeightFactor weights(operands_.weights(at), warp_column(), lane());
      const SharedAddress rows = patch + static_cast<SharedAddress>(warp() / 4 * 64 * Operands::kDepthBytes);
      start_products<kSteps, Operands::kDepthBytes>(sums_, rows, weights);
    } else {
      SharedAddress pixel[kRowFragments];
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) {
        // From shared memory at every tap: kept in registers, two numbers a fragment make the wide tile
        // spill.
        pixel[f] = Operands::kOnePatch
                       ? patch_lane(patch, known_row(at.tile, f), operands_.tap(at))
                       : deep_lane<Operands::kDepthChunks>(patch, row_of_lane(f), lane() / 16);
      }
      start_pixels(at, pixel, factors);
    }
  }
  /// The same, of rows that this lane finds at `pixel`.
  __device__ __forceinline__ void start_pixels(const Cursor& at, const SharedAddress (&pixel)[kRowFragments],
                                               [[maybe_unused]] LeftFactors& factors) {
    const WeightFactor weights(operands_.weights(at), warp_column(), lane());
    const auto left = [&](auto& a, int step, int f) { load_deep_rows(a, pixel[f], step); };
    if constexpr (kProduct == Product::kWarpgroup) {
      start_products(sums_, factors, weights, left);
    } else {
      multiply_steps<kSteps>(sums_, weights, left);
    }
  }
  /// All taps of a resident patch.
  __device__ __forceinline__ void multiply_taps(Cursor at) {
    const SharedAddress patch = operands_.patch(at);
    Row rows[kRowFragments];
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) rows[f] = known_row(at.tile, f);
#pragma unroll 1
    for (; at.tap < operands_.rows().taps(); ++at.tap, ++at.weight_slot) {
      const Tap tap = operands_.tap(at);
      SharedAddress pixel[kRowFragments];
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) pixel[f] = patch_lane(patch, rows[f], tap);
      LeftFactors factors;
      start_pixels(at, pixel, factors);
      finish(factors);
    }
  }
  __device__ __forceinline__ void finish([[maybe_unused]] LeftFactors& factors) {
    if constexpr (kSharedLeft) {
      finish_products(sums_);
    } else if constexpr (kProduct == Product::kWarpgroup) {
      finish_products(sums_, factors);
    }
  }

  __device__ __forceinline__ RunPlace place() const {
    return {g_.first_part(operands_.parity(), kTile.rows) + Operands::run_number(),
            g_.first_part(g_.classes(), kTile.rows),
            operands_.group() * g_.column_tiles(kTile.columns) + Operands::column_tile()};
  }

  const ConvGeometry& g_;
  Operands operands_;
  ConvEpilogue<T, Results> epilogue_;
  float sums_[kRowFragments][kColumnFragments][4];
};

/// Blocks that shall fit a multiprocessor. A patch for all taps takes up to half of an H100's 227 KB, and
/// more than half of an A100's 163 KB.
constexpr int wanted_blocks(TileName name, [[maybe_unused]] Patch patch) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  if (serves_all_taps(patch)) return 1;
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
    block.begin_early();
    grid_dependency_wait();
    grid_dependency_trigger();
    if (block.has_work()) block.run();
  }
}

}  // namespace residuum::kernels
