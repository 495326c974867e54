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

#include <type_traits>

#include "kernels/conv_geometry.h"
#include "kernels/conv_result.cuh"
#include "kernels/conv_rows.cuh"
#include "kernels/conv_source.cuh"
#include "kernels/conv_units.cuh"
#include "kernels/device/product.cuh"

namespace residuum::kernels {

/// How source pixels reach shared memory: the tile's own pixels for each tap, one patch for all taps, or (for
/// channels that are no whole chunks) the tile's pixels element by element, with padding checked per element.
enum class Patch : uint8_t { kGather, kHalo, kElements };

/// Whether a source is multiplied as it is, or formed first.
enum class Prologue : uint8_t { kNone, kForm };

/// One block's work.
template <TileName kName, typename T, F32Math kMath, bool kBackwardData, Patch kPatch, Prologue kPrologue,
          Product kProduct>
class ConvBlock {
 public:
  __device__ __forceinline__ ConvBlock(const ConvGeometry& g, const ConvSource& source, const T* weight,
                                       const ConvResult& result, unsigned char* shared)
      : g_(g),
        rows_(g, shared, parity()),
        source_(source),
        weight_(weight),
        result_(result, group() * g.columns + first_column(), g.columns - first_column(), g.dst_c,
                shared + conv_shared_bytes(g, tile_of(kName), sizeof(T))) {
    work_ = rows_.end();
    weights_ = work_;
    if constexpr (kProduct == Product::kWarpgroup) weights_ = aligned_for_wgmma(weights_);
    patches_ = weights_ + kTile.stages * kWeightBytes;
    coefficients_ = reinterpret_cast<float*>(work_ + conv_work_bytes(g, tile_of(kName), sizeof(T)));
  }

  __device__ __forceinline__ bool has_work() const { return run_first() < rows_.all(); }

  __device__ __forceinline__ void run() {
    const int tiles = min(g_.run, (rows_.all() - run_first() + kTile.rows - 1) / kTile.rows);
    rows_.set_plan({tiles, in_pieces() ? piece_passes() : 0});
    rows_.fill_taps();
    for (int tile = 0; tile <= kAhead; ++tile) rows_.fill(tile, first_row(tile));
    __syncthreads();
    clear(sums_);
    // A parity class without taps has steps all the same: of zeros.
    run_steps();
    if (result_.sums() > 0) finish_sums();
  }

 private:
  static constexpr Tile kTile = arranged(tile_of(kName), kProduct);
  static constexpr int kThreads = kTile.threads();
  static constexpr int kDepthChunks = kTile.depth / kChunk<T>;
  static constexpr int kDepthBytes = kDepthChunks * kChunkBytes;
  static constexpr int kColumnChunks = kTile.columns / kChunk<T>;
  static constexpr int kWeightBytes = kTile.columns * kDepthBytes;
  static constexpr bool kCanConcat =
      kPrologue == Prologue::kForm && tile_forms(kName, kBackwardData, Form::kConcat);
  /// Then the kernel is 1x1: its one tap is (0, 0).
  static constexpr bool kOnlyConcat = kCanConcat && !takes_two_tensors(kName);
  static constexpr int kWeightChunks = kBackwardData ? kColumnChunks : kDepthChunks;
  static constexpr int kWeightRows = kBackwardData ? kTile.depth : kTile.columns;
  static constexpr int kRowFragments = kTile.warp_rows() / 16;
  static constexpr int kColumnFragments = kTile.warp_columns() / 8;
  static constexpr int kAhead = steps_ahead(kTile);
  /// Rows that all threads copy at once; whole periods of the swizzle, so that a thread's chunk stays in
  /// place.
  static constexpr int kPatchPass = kThreads / kDepthChunks, kWeightPass = kThreads / kWeightChunks;
  static constexpr int kGatherPasses = kTile.rows / kPatchPass;
  using FactorA = Factor<T, kMath, 4>;
  static constexpr int kSteps = kTile.depth / FactorA::kDepth;
  static_assert(kDepthBytes <= kZeroBytes && kColumnFragments % 2 == 0);
  static_assert(kPatchPass % 8 == 0 && kWeightPass % 8 == 0);

  /// Warpgroups read a tile's own pixels from shared memory themselves; of a patch for all taps, each lane
  /// finds its own.
  static constexpr bool kSharedLeft = kProduct == Product::kWarpgroup && kPatch == Patch::kGather;
  /// Rows of deep weights can lie in any order: in that which gives each lane units of channels.
  static constexpr bool kPermuted = !kBackwardData && kColumnFragments % kQuad == 0;
  using Units = WarpUnits<kColumnFragments, kPermuted>;

  /// Chunks of a weight tile's row that lie together: warpgroups want flat tiles in panels of 64 columns.
  static constexpr int kPanelChunks =
      kBackwardData && kProduct == Product::kWarpgroup ? kWarpgroupPanel<T> : kWeightChunks;
  using WeightFactor = std::conditional_t<
      kProduct == Product::kWarpgroup,
      WarpgroupFactor<T, kMath, kBackwardData, kBackwardData ? 128 : kDepthBytes, kTile.depth>,
      std::conditional_t<kBackwardData, FlatFactor<T, kMath, kColumnChunks>,
                         DeepFactor<T, kMath, kDepthChunks>>>;
  using LeftFactors = StepFactors<T, kMath, kSteps, kRowFragments>;

  static constexpr bool kWholeResults = sizeof(T) == 2 && kPatch != Patch::kElements;
  static constexpr int kRegisterSums = register_sums(kTile, kBackwardData, kPatch == Patch::kHalo);
  using Result =
      ResultBlock<T, kTile.columns, kThreads, (most_sums(kBackwardData) - kRegisterSums) * Units::kGroups,
                  kWholeResults, kBackwardData>;

  /// Where the sum stands: tile of the run, channel depth of the step, tap, and the ring slots of its
  /// operands.
  struct Cursor {
    int tile = 0, depth = 0, tap = 0, patch_slot = 0, weight_slot = 0;

    __device__ __forceinline__ bool begins_patch() const { return kPatch != Patch::kHalo || tap == 0; }
  };
  /// The step after `at`. Weights of a tile that has room for all of them stay where they are.
  __device__ __forceinline__ void next(Cursor& at) const {
    if (++at.weight_slot == kTile.stages) at.weight_slot = 0;
    const bool same_depth = !kOnlyConcat && ++at.tap < rows_.taps();
    if (kPatch != Patch::kHalo || !same_depth) {
      if (++at.patch_slot == patch_slots()) at.patch_slot = 0;
    }
    if (same_depth) return;
    at.tap = 0;
    at.depth += kTile.depth;
    if (at.depth < g_.depth) return;
    at.depth = 0;
    ++at.tile;
    if (weights_stay()) at.weight_slot = 0;
  }
  /// The step that is loaded while `at` is multiplied: found anew each time, as a second cursor would take
  /// registers that the sums need.
  __device__ __forceinline__ Cursor later(Cursor at) const {
#pragma unroll
    for (int step = 0; step < kAhead; ++step) next(at);
    return at;
  }
  /// The patch behind that of `at`.
  __device__ __forceinline__ Cursor next_patch(Cursor at) const {
    at.tap = 0;
    if (++at.patch_slot == patch_slots()) at.patch_slot = 0;
    at.depth += kTile.depth;
    if (at.depth >= g_.depth) at.depth = 0, ++at.tile;
    return at;
  }
  __device__ __forceinline__ bool weights_stay() const {
    return (g_.depth + kTile.depth - 1) / kTile.depth * (kOnlyConcat ? 1 : rows_.taps()) <= kTile.stages;
  }

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
  __device__ __forceinline__ static int warp_row() {
    return warp() / kTile.warps_n * kTile.warp_rows();
  }
  __device__ __forceinline__ static int warp_column() {
    return warp() % kTile.warps_n * kTile.warp_columns();
  }

  // Blocks: column tiles are neighbours, as they read the same pixels; then the runs of rows; groups and
  // parity classes.
  __device__ __forceinline__ static int column_tile() {
    return static_cast<int>(blockIdx.x);
  }
  __device__ __forceinline__ static int run_number() {
    return static_cast<int>(blockIdx.y);
  }
  __device__ __forceinline__ int run_first() const {
    return run_number() * g_.run * kTile.rows;
  }
  __device__ __forceinline__ int first_row(int tile) const {
    return run_first() + tile * kTile.rows;
  }
  __device__ __forceinline__ static int first_column() {
    return column_tile() * kTile.columns;
  }

  __device__ __forceinline__ bool has_two_tensors() const {
    return kPrologue == Prologue::kForm && reads_two<kName, kBackwardData>(g_.form);
  }
  __device__ __forceinline__ bool is_concat() const {
    return kOnlyConcat || (kCanConcat && g_.form == Form::kConcat);
  }
  /// The first channel that is formed; of kConcat, where its second tensor begins.
  __device__ __forceinline__ int first_formed() const {
    return kCanConcat ? g_.depth - g_.formed : 0;
  }
  __device__ __forceinline__ int formed() const {
    return kCanConcat ? g_.formed : g_.depth;
  }
  __device__ __forceinline__ int parity() const {
    return kBackwardData ? static_cast<int>(blockIdx.z) % g_.classes() : 0;
  }
  __device__ __forceinline__ int group() const {
    return static_cast<int>(blockIdx.z) / (kBackwardData ? g_.classes() : 1);
  }
  __device__ __forceinline__ int patch_rows() const {
    return kPatch == Patch::kHalo ? g_.patch_rows : kTile.rows;
  }
  __device__ __forceinline__ int patch_slots() const {
    return kPatch == Patch::kHalo ? g_.patch_slots : kTile.stages;
  }
  __device__ __forceinline__ int patch_offset(const Cursor& at) const {
    return at.patch_slot * patch_rows() * kDepthBytes;
  }
  /// Bytes of the patches of one tensor.
  __device__ __forceinline__ int patch_ring() const {
    return patch_slots() * patch_rows() * kDepthBytes;
  }
  __device__ __forceinline__ Tap tap(const Cursor& at) const {
    return kOnlyConcat ? Tap{} : rows_.tap(at.tap);
  }

  // A patch that serves enough steps is loaded and formed piece by piece, one in each step of the patch
  // before it; any other whole, as many steps ahead as the weights.
  __device__ __forceinline__ bool in_pieces() const {
    return kPatch == Patch::kHalo && rows_.taps() >= kAhead;
  }
  __device__ __forceinline__ int pieces() const {
    return rows_.taps() + 1 - kAhead;
  }
  /// Passes of the copying threads over a patch that one piece is.
  __device__ __forceinline__ int piece_passes() const {
    const int passes = (patch_rows() + kPatchPass - 1) / kPatchPass;
    return (passes + pieces() - 1) / pieces();
  }
  __device__ __forceinline__ int tiles() const {
    return rows_.plan().tiles;
  }
  struct Passes {
    int begin, end;
  };
  __device__ __forceinline__ Passes whole_patch() const {
    return {0, kPatch == Patch::kHalo ? (patch_rows() + kPatchPass - 1) / kPatchPass : kGatherPasses};
  }
  __device__ __forceinline__ Passes piece(int number) const {
    return {number * rows_.plan().piece_passes, (number + 1) * rows_.plan().piece_passes};
  }

  /// visit(place in the slot, source pixel, whether it is one) for each chunk that this thread copies in
  /// those passes over a patch. Its channels exist.
  template <bool kUnrolled, typename Visit>
  __device__ __forceinline__ void visit_patch(const Cursor& at, const Passes& passes,
                                              const Visit& visit) const {
    const int thread = computed_here(this->thread()), first = thread / kDepthChunks;
    const int place = patch_offset(at) + chunk_offset<kDepthChunks>(first, thread % kDepthChunks);
    if constexpr (kPatch == Patch::kHalo) {
      const int pixels = g_.n * g_.src_h * g_.src_w, lowest = rows_.lowest(at.tile);
      const int end = min(patch_rows(), passes.end * kPatchPass);
#pragma unroll 1
      for (int r = first + passes.begin * kPatchPass; r < end; r += kPatchPass) {
        const int pixel = lowest + r;
        visit(place + (r - first) * kDepthBytes, pixel,
              static_cast<unsigned>(pixel) < static_cast<unsigned>(pixels));
      }
    } else {
      const Tap own = tap(at);
      const Row* const table = rows_.table(at.tile) + first;
#pragma unroll(kUnrolled ? kGatherPasses : 1)
      for (int pass = 0; pass < kGatherPasses; ++pass) {
        const Row row = table[pass * kPatchPass];
        visit(place + pass * kPatchPass * kDepthBytes, row.src + own.distance,
              rows_.inside(row.position, own));
      }
    }
  }

  /// The first channel of the chunks this thread copies, within its group.
  __device__ __forceinline__ static int channel_of(const Cursor& at) {
    return at.depth + thread() % kDepthChunks * kChunk<T>;
  }

  __device__ __forceinline__ void load_patch(const Cursor& at, const Passes& passes) {
    if constexpr (kPatch == Patch::kElements) {
      load_elements(at);
    } else {
      if (is_concat()) {
        const bool second = channel_of(at) >= first_formed();
        return load_chunks(at, passes, second ? source_.b : source_.a, second ? -first_formed() : 0,
                           second ? formed() : first_formed(), patches_);
      }
      const int first = group() * g_.depth;
      load_chunks(at, passes, source_.a, first, g_.src_c, patches_);
      if (has_two_tensors()) load_chunks(at, passes, source_.b, first, g_.src_c, patches_ + patch_ring());
    }
  }

  /// From a tensor with `pitch` channels, where channel c of the sum is number first + c.
  __device__ __forceinline__ void load_chunks(const Cursor& at, const Passes& passes, const void* tensor,
                                              int first, int pitch, unsigned char* patches) {
    const int channel = channel_of(at);
    const bool exists = channel < g_.depth;
    const T* const from = static_cast<const T*>(tensor) + first + channel;
    // Not unrolled where the two pitches of kConcat would take registers that the sums need.
    visit_patch<!kOnlyConcat>(at, passes, [&](int place, int pixel, bool valid) {
      cp_async_16(shared_address(patches + place), from + static_cast<int64_t>(pixel) * pitch,
                  exists && valid);
    });
  }

  /// Turns the chunks of a patch that this thread copied into what is multiplied; zeros outside of the tensor
  /// stay. Blocks of the first columns also store the tile's own pixels where that is wanted.
  __device__ __forceinline__ void form_patch(const Cursor& at, const Passes& passes) {
    const int channel = at.depth + computed_here(thread()) % kDepthChunks * kChunk<T>;
    if (channel >= g_.depth || channel < first_formed()) return;
    if (kCanConcat && source_.vectors.mean == nullptr) return;
    const int pitch = static_cast<int>(form_pitch(formed()));
    const FormCoefficients coefficients{coefficients_ + form_place(channel - first_formed(), pitch), pitch};
    const Tap own = tap(at);
    const bool own_tap = kPatch == Patch::kHalo || (own.dh == 0 && own.dw == 0);
    const bool stores = source_.dst != nullptr && column_tile() == 0 && own_tap;
    const int first = first_row(at.tile);
    const unsigned stored_rows = stores ? static_cast<unsigned>(min(kTile.rows, rows_.all() - first)) : 0;
    visit_patch<false>(at, passes, [&](int place, int pixel, bool valid) {
      if (!valid) return;
      unsigned char* const a = patches_ + place;
      const uint4 formed = form_chunk<T, kName, kBackwardData>(source_, coefficients, a, a + patch_ring());
      *reinterpret_cast<uint4*>(a) = formed;
      if constexpr (!kOnlyConcat) {
        if (static_cast<unsigned>(pixel - first) >= stored_rows) return;
        store_formed<T>(source_, formed,
                        static_cast<int64_t>(pixel) * g_.src_c + group() * g_.depth + channel);
      }
    });
  }

  /// Chunks that start at any element: of each row, elements from this thread's channel of a tap on; those
  /// left and right of the image's line are padding.
  __device__ __forceinline__ void load_elements(const Cursor& at) {
    const Tap own = tap(at);
    const int channel = channel_of(at), first = thread() / kDepthChunks;
    unsigned char* const to =
        patches_ + patch_offset(at) + chunk_offset<kDepthChunks>(first, thread() % kDepthChunks);
#pragma unroll
    for (int pass = 0; pass < kTile.rows; pass += kPatchPass) {
      const Row row = rows_.table(at.tile)[first + pass];
      const int h = (row.position >> 16) + own.dh, w = static_cast<int16_t>(row.position & 0xFFFF) + own.dw;
      const int element = w * g_.src_c + group() * g_.depth + channel;
      const bool valid = static_cast<unsigned>(h) < static_cast<unsigned>(g_.src_h);
      const int begin = max(0, -element), end = min(g_.src_w * g_.src_c - element, g_.depth - channel);
      const int64_t line = (static_cast<int64_t>(row.src) + own.distance - w) * g_.src_c;
      store_partial_chunk(to + pass * kDepthBytes, static_cast<const T*>(source_.a) + line + element, begin,
                          valid ? end : 0);
    }
  }

  // Rows of a weight tile are output channels of the forward pass, either way.
  __device__ __forceinline__ void load_weights(const Cursor& at) {
    const int thread = computed_here(this->thread());
    const int own = thread % kWeightChunks, first = thread / kWeightChunks;
    unsigned char* const to = weights_ + at.weight_slot * kWeightBytes +
                              own / kPanelChunks * (kWeightRows * kPanelChunks * kChunkBytes) +
                              chunk_offset<kPanelChunks>(first, own % kPanelChunks);
    const int row_end = kBackwardData ? g_.depth - at.depth : g_.columns - first_column();
    const int column = (kBackwardData ? first_column() : at.depth) + own * kChunk<T>;
    const int weight = tap(at).weight;
    const bool exists = column < (kBackwardData ? g_.columns : g_.depth) && weight != kNoWeights;
    // There are fewer than 2^31 elements.
    const int first_of_all =
        kBackwardData ? group() * g_.depth + at.depth : group() * g_.columns + first_column();
    const unsigned from = static_cast<unsigned>(first_of_all * g_.weight_pitch + weight + column);
#pragma unroll
    for (int pass = 0; pass < kWeightRows; pass += kWeightPass) {
      if (kWeightPass > kWeightRows && first >= kWeightRows) break;
      const int row = kPermuted ? channel_of_column(first + pass) : first + pass;
      unsigned char* const dst = to + pass * kPanelChunks * kChunkBytes;
      const T* const src = weight_ + (from + static_cast<unsigned>(row * g_.weight_pitch));
      if constexpr (kPatch != Patch::kElements) {
        cp_async_16(shared_address(dst), src, row < row_end && exists);
      } else {
        const int count = (kBackwardData ? g_.columns : g_.depth) - column;
        store_partial_chunk(dst, src, 0, row < row_end ? count : 0);
      }
    }
  }

  /// What the step `ahead` of all others, and the step `now` behind it, leave to load.
  __device__ __forceinline__ void load(const Cursor& ahead, const Cursor& now) {
    if (ahead.tile < tiles()) {
      if (!in_pieces() && ahead.begins_patch()) load_patch(ahead, whole_patch());
      if (ahead.tile == 0 || !weights_stay()) load_weights(ahead);
    }
    if (in_pieces() && now.tap < pieces()) {
      const Cursor patch = next_patch(now);
      if (patch.tile < tiles()) load_patch(patch, piece(now.tap));
    }
  }
  /// What has to be formed before step `next`, while the one before it is multiplied.
  __device__ __forceinline__ void form(const Cursor& next) {
    if constexpr (kPrologue == Prologue::kForm) {
      if (!in_pieces()) {
        if (next.begins_patch()) form_patch(next, whole_patch());
        return;
      }
      // Of the patch behind that of the step that is multiplied, the piece that has just arrived.
      const int number = (next.tap == 0 ? rows_.taps() : next.tap) - kAhead;
      if (number < 0) return;
      const Cursor patch = next.tap == 0 ? next : next_patch(next);
      if (patch.tile < tiles()) form_patch(patch, piece(number));
    }
  }

  __device__ __forceinline__ void run_steps() {
    Cursor now;
    if (in_pieces()) load_patch(now, whole_patch());
    Cursor ahead;
#pragma unroll 1
    for (int step = 0; step < kAhead; ++step) {
      if (ahead.tile < tiles()) {
        if (!in_pieces() && ahead.begins_patch()) load_patch(ahead, whole_patch());
        if (ahead.tile == 0 || !weights_stay()) load_weights(ahead);
      }
      cp_async_commit();
      next(ahead);
    }
    stage_vectors();
    cp_async_wait<kAhead - 1>();
    if constexpr (kPrologue == Prologue::kForm) form_patch(now, whole_patch());
    if constexpr (kProduct == Product::kWarpgroup) fence_shared_for_wgmma();
    __syncthreads();
    while (true) {
      LeftFactors factors;
      start(now, factors);
      load(later(now), now);
      cp_async_commit();
      if (now.tap == 0 && now.depth == 0) begin_tile(now.tile);
      next(now);
      if (now.tile < tiles()) {
        cp_async_wait<kAhead - 1>();
        form(now);
        if constexpr (kProduct == Product::kWarpgroup) fence_shared_for_wgmma();
      }
      finish(factors);
      if (now.tap == 0 && now.depth == 0) {
        store(now.tile - 1);
        if (now.tile == tiles()) break;
        clear(sums_);
      }
      __syncthreads();
    }
    cp_async_wait<0>();
  }

  /// What can be done in a tile's first step for later: the rows of a tile that the loads have not reached,
  /// and asking for what finishing this tile's results reads.
  __device__ __forceinline__ void begin_tile(int tile) {
    rows_.fill(tile + kAhead + 1, first_row(tile + kAhead + 1));
    constexpr int kLineChannels = 128 / static_cast<int>(sizeof(T)), kLines = kTile.columns / kLineChannels;
    if constexpr (kLines > 0) {
      if (!result_.reads()) return;
      for (int i = thread(); i < kTile.rows * kLines; i += kThreads) {
        const int row = first_row(tile) + i / kLines, column = i % kLines * kLineChannels;
        if (row < rows_.all() && column < g_.columns - first_column()) {
          result_.prefetch(rows_.dst(row), column);
        }
      }
    }
  }

  /// What a block needs of channels, once, while the first operands are on their way.
  __device__ __forceinline__ void stage_vectors() {
    if constexpr (kPrologue == Prologue::kForm) {
      if (!kCanConcat || source_.vectors.mean != nullptr) {
        stage_form(source_, group() * formed(), formed(), int64_t{g_.n} * g_.src_h * g_.src_w, coefficients_);
      }
    }
    result_.stage();
    __syncthreads();
  }

  /// Where this lane reads row fragment `f` of the patch for a tap.
  __device__ __forceinline__ SharedAddress patch_lane(const Cursor& at, SharedAddress patch, int f,
                                                      const Tap& own) const {
    const int chunk = lane() / 16, r = warp_row() + lane() % 16 + 16 * f;
    if constexpr (kPatch == Patch::kHalo) {
      // From shared memory at every tap: kept in registers, two numbers a fragment make the wide tile spill.
      const Row row = rows_.table(at.tile)[r];
      if (!rows_.inside(row.position, own)) {
        return deep_lane<kDepthChunks>(shared_address(rows_.zeros()), 0, chunk);
      }
      return deep_lane<kDepthChunks>(patch, row.src - rows_.lowest(at.tile) + own.distance, chunk);
    } else {
      return deep_lane<kDepthChunks>(patch, r, chunk);
    }
  }

  /// Starts the products of a step; of warps, also ends them.
  __device__ __forceinline__ void start(const Cursor& at, [[maybe_unused]] LeftFactors& factors) {
    const SharedAddress patch = shared_address(patches_ + patch_offset(at));
    const WeightFactor weights(shared_address(weights_ + at.weight_slot * kWeightBytes), warp_column(),
                               lane());
    if constexpr (kSharedLeft) {
      const SharedAddress rows = patch + static_cast<SharedAddress>(warp() / 4 * 64 * kDepthBytes);
      start_products<kSteps, kDepthBytes>(sums_, rows, weights);
    } else {
      const Tap own = tap(at);
      SharedAddress pixel[kRowFragments];
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) pixel[f] = patch_lane(at, patch, f, own);
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
    const int thread = computed_here(this->thread()), lane = thread % 32;
    const int warp = thread / 32, warp_row = warp / kTile.warps_n * kTile.warp_rows();
    const int warp_column = warp % kTile.warps_n * kTile.warp_columns();
#pragma unroll
    for (int group = 0; group < Units::kGroups; ++group) {
      LaneSums sums = {};
      const int column = warp_column + Units::column(lane, group);
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) {
#pragma unroll
        for (int half = 0; half < Units::kHalves; ++half) {
          const int row = first_row(tile) + warp_row + 16 * f + Units::row(lane, half);
          store_unit(row, column, group, f, half, lane, sums);
        }
      }
      if (result_.sums() > 0) {
        run_sum(0, group) += Units::total(sums.of[0], lane);
        run_sum(1, group) += Units::total(sums.of[1], lane);
      }
    }
  }
  __device__ __forceinline__ void store_unit(int row, int column, int group, int f, int half, int lane,
                                             LaneSums& sums) {
    alignas(16) float values[kUnit];
    Units::take(sums_[f], group, half, lane, values);
    typename Result::Operands operands;
    const bool exists = row < rows_.all() && column < g_.columns - first_column();
    if (exists) {
      const int dst = rows_.dst(row);
      result_.load(dst, column, operands);
      result_.finish(dst, column, operands, values, sums);
    }
    if constexpr (kBackwardData) {
      // At once, as few results have a second norm: more sums in a lane would take registers from all.
      if (!result_.has_second_norm()) return;
      float products[kUnit] = {};
      if (exists) result_.multiply_second(column, values, operands, products);
      run_sum(2, group) += Units::total(products, lane);
    }
  }

  /// Sum `s` of the tiles so far in column group `group`, this lane's share of its warp.
  __device__ __forceinline__ float& run_sum(int s, int group) {
    if constexpr (kRegisterSums > 0) {
      if (s < kRegisterSums) return run_sums_[s][group];
    }
    return result_.kept((s - kRegisterSums) * Units::kGroups + group);
  }

  /// From the first row of the run: its first warps have it.
  __device__ __forceinline__ void set_shift() {
    const int thread = computed_here(this->thread());
    if (thread / 32 < kTile.warps_n && thread % 32 < kQuad) {
#pragma unroll
      for (int q = 0; q < kColumnFragments; ++q) {
        const int column = thread / 32 * kTile.warp_columns() + Units::column_of_pair(thread % 32, q);
        result_.shift(column) = sums_[0][q][0];
        result_.shift(column + 1) = sums_[0][q][1];
      }
    }
    __syncthreads();
    if (thread < kTile.columns) result_.finish_shift(thread, rows_.dst(first_row(0)));
    __syncthreads();
  }

  /// Sums of all warps, then of the block's run; the place of the operands is free.
  __device__ __forceinline__ void finish_sums() {
    constexpr int kWarpsM = kTile.warps_m;
    __syncthreads();
    double* const totals = reinterpret_cast<double*>(work_);
    double* const scratch = totals + kMostSums * kTile.columns;
    float* const of_warps = reinterpret_cast<float*>(scratch + 2 * kThreads);
    if (Units::owns_total(lane())) {
#pragma unroll
      for (int s = 0; s < most_sums(kBackwardData); ++s) {
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
      return static_cast<double>(min(step, rows_.all() - part * step));
    };
    const int part = g_.first_part(parity(), kTile.rows) + run_number();
    const int column_counter = group() * g_.column_tiles(kTile.columns) + column_tile();
    result_.finish_run(totals, part, g_.first_part(g_.classes(), kTile.rows), column_counter, rows_.all(),
                       rows_of, scratch);
  }

  const ConvGeometry& g_;
  ConvRows<kTile.rows, row_tables(kTile), kThreads, kBackwardData> rows_;
  const ConvSource& source_;
  const T* const weight_;
  Result result_;
  unsigned char *work_, *patches_, *weights_;
  float* coefficients_;
  float sums_[kRowFragments][kColumnFragments][4];
  float run_sums_[kRegisterSums > 0 ? kRegisterSums : 1][Units::kGroups] = {};
};

/// Blocks that a patch for all taps leaves room for: it takes up to half of an H100's 227 KB, and more than
/// half of an A100's 163 KB.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
inline constexpr int kHaloBlocks = 1;
#else
inline constexpr int kHaloBlocks = 2;
#endif

/// Blocks that shall fit a multiprocessor.
constexpr int wanted_blocks(TileName name, Patch patch) {
  return patch == Patch::kHalo ? std::min(tile_of(name).blocks, kHaloBlocks) : tile_of(name).blocks;
}

template <TileName kName, typename T, F32Math kMath, bool kBackwardData, Patch kPatch, Prologue kPrologue,
          Product kProduct>
__global__ void __launch_bounds__(tile_of(kName).threads(), wanted_blocks(kName, kPatch))
    conv_kernel(const ConvGeometry g, const ConvSource source, const T* weight, const ConvResult result) {
  if constexpr (compiles_here<T>(kName, kProduct)) {
    grid_dependency_wait();
    grid_dependency_trigger();
    DYNAMIC_SHARED(shared);
    ConvBlock<kName, T, kMath, kBackwardData, kPatch, kPrologue, kProduct> block(g, source, weight, result,
                                                                                 shared);
    if (block.has_work()) block.run();
  }
}

}  // namespace residuum::kernels
