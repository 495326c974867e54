// The operands of a convolution's product, forward and backward-data (conv/block.cuh): where a block stands
// in its sequence of steps, and how pixels and weights of the steps ahead reach shared memory and are formed
// there. Source pixels come as a patch: either the tile's own pixels for one tap (gather) or, read once for
// all taps, the run of pixels in memory order that the taps touch (halo). Padding of a tensor that is copied
// is zeros in a gathered patch; in a halo it is never read (conv/block.cuh), so whatever is formed, padding
// stays zero.
#pragma once

#include <algorithm>
#include <type_traits>

#include "kernels/conv/geometry.h"
#include "kernels/conv/product.cuh"
#include "kernels/conv/rows.cuh"
#include "kernels/conv/source.cuh"
#include "kernels/conv/units.cuh"

namespace residuum::kernels {

/// Whether a source is multiplied as it is, or formed first.
enum class Prologue : uint8_t { kNone, kForm };

/// Where the sum of a block stands: tile of the run, channel depth of the step, tap, and the ring slots of
/// its operands.
struct ConvCursor {
  int tile = 0, depth = 0, tap = 0, patch_slot = 0, weight_slot = 0;

  __device__ __forceinline__ bool begins_tile() const { return tap == 0 && depth == 0; }
};

/// The operands of one block, of all its steps.
template <TileName kName, typename T, bool kBackwardData, Patch kPatch, Prologue kPrologue, Product kProduct>
class ConvOperands {
 public:
  static constexpr Tile kTile = arranged(tile_of(kName), kProduct);
  static constexpr int kThreads = kTile.threads();
  static constexpr int kAhead = steps_ahead(kTile);
  static constexpr int kDepthChunks = kTile.depth / kChunk<T>;
  static constexpr int kDepthBytes = kDepthChunks * kChunkBytes;
  static constexpr int kColumnChunks = kTile.columns / kChunk<T>;
  /// Rows of deep weights can lie in any order: in that which gives each lane of the product units of
  /// channels.
  static constexpr bool kPermuted = !kBackwardData && kTile.warp_columns() % kQuadColumns == 0;
  static constexpr bool kCanConcat =
      kPrologue == Prologue::kForm && tile_forms(kName, kBackwardData, Form::kConcat);
  /// Then the kernel is 1x1: its one tap is (0, 0), its rows are pixels.
  static constexpr bool kOnlyConcat = kCanConcat && !takes_two_tensors(kName);
  using Cursor = ConvCursor;
  static constexpr bool kOnePatch = serves_all_taps(kPatch), kResident = kPatch == Patch::kResident;
  using Rows = ConvRows<kTile.rows, kOnlyConcat ? 0 : row_tables(kTile, kPatch), kOnePatch,
                        known_tiles(kTile), kThreads, kBackwardData>;

  __device__ __forceinline__ ConvOperands(const ConvGeometry& g, const ConvSource& source, const T* weight,
                                          unsigned char* shared)
      : g_(g), rows_(g, shared, parity()), source_(source), weight_(weight) {
    work_ = rows_.end();
    weights_ = work_;
    if constexpr (kProduct == Product::kWarpgroup) weights_ = aligned_for_wgmma(weights_);
    patches_ = weights_ + weight_slots() * kWeightBytes;
    coefficients_ = reinterpret_cast<float*>(work_ + conv_work_bytes(g, tile_of(kName), sizeof(T)));
  }

  // Blocks: column tiles are neighbours, as they read the same pixels; then the runs of rows; groups and
  // parity classes.
  __device__ __forceinline__ static int column_tile() { return static_cast<int>(blockIdx.x); }
  __device__ __forceinline__ static int run_number() { return static_cast<int>(blockIdx.y); }
  __device__ __forceinline__ int run_first() const { return run_number() * g_.run * kTile.rows; }
  /// Known once the tables are filled.
  __device__ __forceinline__ int first_row(int tile) const { return rows_.plan().first + tile * kTile.rows; }
  __device__ __forceinline__ static int first_column() { return column_tile() * kTile.columns; }

  __device__ __forceinline__ int parity() const {
    return kBackwardData ? static_cast<int>(blockIdx.z) % g_.classes() : 0;
  }
  __device__ __forceinline__ int group() const {
    return static_cast<int>(blockIdx.z) / (kBackwardData ? g_.classes() : 1);
  }
  /// Said to be below kThreads: divisions are then shifts, cheaper to repeat than to keep in registers.
  __device__ __forceinline__ static int thread() { return static_cast<int>(threadIdx.x % kThreads); }
  __device__ __forceinline__ const Rows& rows() const { return rows_; }
  /// Tiles of this block's run.
  __device__ __forceinline__ int tiles() const { return rows_.plan().tiles; }
  /// Memory of all operands, free when the last step is done.
  __device__ __forceinline__ unsigned char* work() const { return work_; }

  __device__ __forceinline__ Tap tap(const Cursor& at) const {
    return kOnlyConcat ? Tap{} : rows_.tap(at.tap);
  }

  __device__ __forceinline__ SharedAddress patch(const Cursor& at) const {
    return shared_address(patches_ + patch_offset(at));
  }
  __device__ __forceinline__ SharedAddress weights(const Cursor& at) const {
    return shared_address(weights_ + at.weight_slot * kWeightBytes);
  }

  /// Fills the tables of the first tiles, in shared memory alone; a barrier must follow.
  __device__ __forceinline__ void fill_tables() {
    const int first = run_first(), tiles = min(g_.run, (rows_.all() - first + kTile.rows - 1) / kTile.rows);
    rows_.set_plan({first, tiles, in_pieces() ? piece_passes() : 0});
    rows_.fill_taps();
#pragma unroll 1
    for (int tile = 0; tile <= min(kAhead, tiles - 1); ++tile) {
      if (kOnePatch) {
        rows_.set_lowest(tile, first + tile * kTile.rows);
      } else {
        rows_.fill(tile, first + tile * kTile.rows);
      }
    }
    if constexpr (kOnePatch) {
      __syncthreads();
      rows_.fill(0, first);
    }
  }
  /// Those of a resident patch; the tables must be filled.
  __device__ __forceinline__ void load_all_weights() {
#pragma unroll 1
    for (Cursor at; at.tile == 0; next(at)) load_weights(at);
  }
  /// Asks for the operands of the first steps: kAhead, or of a resident patch all.
  __device__ __forceinline__ void begin() {
    Cursor at;
    if constexpr (kResident) {
      if (!g_.early_weights) load_all_weights();
      return load_whole(at);
    }
    if (in_pieces()) load_patch(at, whole_patch());
#pragma unroll 1
    for (int step = 0; step < kAhead; ++step) {
      load_step(at);
      cp_async_commit();
      next(at);
    }
  }
  /// The coefficients of all channels that are formed; a barrier must follow.
  __device__ __forceinline__ void stage() {
    if constexpr (kPrologue == Prologue::kForm) {
      if (kCanConcat && source_.vectors.mean == nullptr) return;
      stage_form(source_, group() * formed(), formed(), int64_t{g_.n} * g_.src_h * g_.src_w, coefficients_);
    }
  }
  /// Makes the operands of the first step ready; a barrier must follow.
  __device__ __forceinline__ void prepare_first() {
    cp_async_wait<kResident ? 0 : kAhead - 1>();
    if constexpr (kPrologue == Prologue::kForm) form_patch(Cursor{}, whole_patch());
    if constexpr (kProduct == Product::kWarpgroup) fence_shared_for_wgmma();
  }
  /// Asks for what is needed kAhead steps after `now`, and for the piece of the next patch that is now's
  /// turn.
  __device__ __forceinline__ void load_ahead(const Cursor& now) {
    load_step(later(now));
    if (in_pieces() && now.tap < pieces()) {
      const Cursor patch = next_patch(now);
      if (patch.tile < tiles()) load_patch(patch, piece(now.tap));
    }
    cp_async_commit();
  }
  /// Makes the operands of step `next` ready, while the one before it is multiplied; a barrier must follow.
  __device__ __forceinline__ void prepare(const Cursor& next) {
    cp_async_wait<kAhead - 1>();
    form(next);
    if constexpr (kProduct == Product::kWarpgroup) fence_shared_for_wgmma();
  }

  // Of a resident patch, which is loaded and formed whole:
  /// Whether the next one can be loaded while this one is multiplied.
  __device__ __forceinline__ bool has_room_ahead() const {
    return g_.patch_slots > 1;
  }
  __device__ __forceinline__ void load_whole(const Cursor& at) {
    load_patch(at, whole_patch());
    cp_async_commit();
  }
  /// A barrier must follow.
  __device__ __forceinline__ void prepare_whole(const Cursor& at) {
    cp_async_wait<0>();
    if constexpr (kPrologue == Prologue::kForm) form_patch(at, whole_patch());
  }
  /// The patch behind that of `at`, at its first tap.
  __device__ __forceinline__ Cursor next_patch(Cursor at) const {
    at.tap = 0;
    if (++at.patch_slot == patch_slots()) at.patch_slot = 0;
    at.depth += kTile.depth;
    if (at.depth >= g_.depth) at.depth = 0, ++at.tile;
    if constexpr (kResident) at.weight_slot = at.depth / kTile.depth * rows_.taps();
    return at;
  }

  /// Makes known what there is room for once `tile` has begun: rows of tiles ahead. A barrier must follow.
  __device__ __forceinline__ void fill_rows(int tile) const {
    const int known = computed_here(tile) + kAhead + 1, filled = kOnePatch ? computed_here(tile) + 1 : known;
    rows_.fill(filled, first_row(filled));
    if (kOnePatch) rows_.set_lowest(known, first_row(known));
  }

  /// The step after `at`. Weights of a tile that has room for all of them stay where they are.
  __device__ __forceinline__ void next(Cursor& at) const {
    if (++at.weight_slot == weight_slots()) at.weight_slot = 0;
    const bool same_depth = !kOnlyConcat && ++at.tap < rows_.taps();
    if (!kOnePatch || !same_depth) {
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

 private:
  static constexpr int kWeightBytes = kTile.columns * kDepthBytes;
  static constexpr int kWeightChunks = kBackwardData ? kColumnChunks : kDepthChunks;
  static constexpr int kWeightRows = kBackwardData ? kTile.depth : kTile.columns;
  /// Chunks of a weight tile's row that lie together: warpgroups want flat tiles in panels of 64 columns.
  static constexpr int kPanelChunks =
      kBackwardData && kProduct == Product::kWarpgroup ? kWarpgroupPanel<T> : kWeightChunks;
  /// Rows that all threads copy at once; whole periods of the swizzle, so that a thread's chunk stays in
  /// place.
  static constexpr int kPatchPass = kThreads / kDepthChunks, kWeightPass = kThreads / kWeightChunks;
  static constexpr int kGatherPasses = kTile.rows / kPatchPass;
  static_assert(kDepthBytes <= kZeroBytes && kPatchPass % 8 == 0 && kWeightPass % 8 == 0);

  /// The step that is loaded while `at` is multiplied: found anew each time, as a second cursor would take
  /// registers that the sums need.
  __device__ __forceinline__ Cursor later(Cursor at) const {
    if (in_pieces()) return later_tap(at);
#pragma unroll
    for (int step = 0; step < kAhead; ++step) next(at);
    return at;
  }
  /// The same where a patch serves as many taps or more.
  __device__ __forceinline__ Cursor later_tap(Cursor at) const {
    at.tap += kAhead;
    at.weight_slot = at.weight_slot == 0 ? kTile.stages - 1 : at.weight_slot - 1;
    if (at.tap < rows_.taps()) return at;
    const Cursor patch = next_patch(at);
    at.tap -= rows_.taps();
    at.depth = patch.depth, at.tile = patch.tile, at.patch_slot = patch.patch_slot;
    return at;
  }
  __device__ __forceinline__ bool weights_stay() const {
    return (g_.depth + kTile.depth - 1) / kTile.depth * (kOnlyConcat ? 1 : rows_.taps()) <= weight_slots();
  }
  __device__ __forceinline__ int weight_slots() const {
    return kResident ? g_.weight_slots : kTile.stages;
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
  __device__ __forceinline__ int patch_rows() const {
    return kOnePatch ? g_.patch_rows : kTile.rows;
  }
  __device__ __forceinline__ int patch_slots() const {
    return kOnePatch ? g_.patch_slots : kTile.stages;
  }
  __device__ __forceinline__ int patch_offset(const Cursor& at) const {
    return at.patch_slot * patch_rows() * kDepthBytes;
  }
  /// Bytes of the patches of one tensor.
  __device__ __forceinline__ int patch_ring() const {
    return patch_slots() * patch_rows() * kDepthBytes;
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
  struct Passes {
    int begin, end;
  };
  __device__ __forceinline__ Passes whole_patch() const {
    return {0, kOnePatch ? (patch_rows() + kPatchPass - 1) / kPatchPass : kGatherPasses};
  }
  __device__ __forceinline__ Passes piece(int number) const {
    return {number * rows_.plan().piece_passes, (number + 1) * rows_.plan().piece_passes};
  }

  /// Whether the patch of a step, loaded whole, is not that of the step before.
  __device__ __forceinline__ bool begins_whole_patch(const Cursor& at) const {
    return kPatch != Patch::kHalo || (!in_pieces() && at.tap == 0);
  }

  /// visit(place in the slot, source pixel, whether it is one) for each chunk that this thread copies in
  /// those passes over a patch. Its channels exist.
  template <bool kUnrolled, typename Visit>
  __device__ __forceinline__ void visit_patch(const Cursor& at, const Passes& passes,
                                              const Visit& visit) const {
    const unsigned thread = computed_here(threadIdx.x);
    const int first = static_cast<int>(thread / kDepthChunks), own = static_cast<int>(thread % kDepthChunks);
    // Forward, the wide tile has no register to keep it in.
    const int slot = kBackwardData ? patch_offset(at) : computed_here(patch_offset(at));
    const int place = slot + chunk_offset<kDepthChunks>(first, own);
    if constexpr (kOnePatch) {
      const int pixels = g_.n * g_.src_h * g_.src_w, lowest = rows_.lowest(at.tile);
      const int end = min(patch_rows(), passes.end * kPatchPass);
#pragma unroll 1
      for (int r = first + passes.begin * kPatchPass; r < end; r += kPatchPass) {
        const int pixel = lowest + r;
        visit(place + (r - first) * kDepthBytes, pixel,
              static_cast<unsigned>(pixel) < static_cast<unsigned>(pixels));
      }
    } else if constexpr (kOnlyConcat) {
      const int row = first_row(at.tile) + first;
#pragma unroll 1
      for (int pass = 0; pass < kGatherPasses; ++pass) {
        const int pixel = row + pass * kPatchPass;
        visit(place + pass * kPatchPass * kDepthBytes, pixel, pixel < rows_.all());
      }
    } else {
      const Tap own_tap = tap(at);
      const Row* const table = rows_.table(at.tile) + first;
#pragma unroll(kUnrolled ? kGatherPasses : 1)
      for (int pass = 0; pass < kGatherPasses; ++pass) {
        const Row row = table[pass * kPatchPass];
        visit(place + pass * kPatchPass * kDepthBytes, row.src + own_tap.distance,
              rows_.inside(row.position, own_tap));
      }
    }
  }

  /// The first channel of the chunks this thread copies, within its group.
  __device__ __forceinline__ static int channel_of(const Cursor& at) {
    return at.depth + static_cast<int>(threadIdx.x % kDepthChunks) * kChunk<T>;
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
    const unsigned bytes = static_cast<unsigned>(pitch) * static_cast<unsigned>(sizeof(T));
    visit_patch<true>(at, passes, [&](int place, int pixel, bool valid) {
      cp_async_16(shared_address(patches + place), pixel_of(from, static_cast<unsigned>(pixel), bytes),
                  exists && valid);
    });
  }

  /// Turns the chunks of a patch that this thread copied into what is multiplied; zeros outside of the tensor
  /// stay. Blocks of the first columns also store the tile's own pixels where that is wanted.
  __device__ __forceinline__ void form_patch(const Cursor& at, const Passes& passes) {
    const int channel = at.depth + static_cast<int>(computed_here(threadIdx.x) % kDepthChunks) * kChunk<T>;
    if (channel >= g_.depth || channel < first_formed()) return;
    if (kCanConcat && source_.vectors.mean == nullptr) return;
    const int pitch = static_cast<int>(form_pitch(formed()));
    const FormCoefficients coefficients{coefficients_ + form_place(channel - first_formed(), pitch), pitch};
    const Tap own = tap(at);
    const bool own_tap = kOnePatch || (own.dh == 0 && own.dw == 0);
    const bool stores = source_.dst != nullptr && column_tile() == 0 && own_tap;
    const int first = first_row(computed_here(at.tile));
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
    const unsigned thread = computed_here(threadIdx.x);
    const int own = static_cast<int>(thread % kWeightChunks),
              first = static_cast<int>(thread / kWeightChunks);
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
      const int row = !kPermuted                 ? first + pass
                      : pass % kQuadColumns == 0 ? channel_of_column(first) + pass
                                                 : channel_of_column(first + pass);
      unsigned char* const dst = to + pass * kPanelChunks * kChunkBytes;
      const T* const src = weight_ + (from + static_cast<unsigned>(row * g_.weight_pitch));
      if constexpr (kPatch != Patch::kElements) {
        cp_async_16(shared_address(dst), src, row < row_end && exists);
      } else {
        const int count = (kBackwardData ? g_.columns : g_.depth) - column;
        store_partial_chunk(dst, src, 0, row < row_end && exists ? count : 0);
      }
    }
  }

  /// The operands of a step, but for a patch that comes in pieces.
  __device__ __forceinline__ void load_step(const Cursor& at) {
    if (at.tile >= tiles()) return;
    if (begins_whole_patch(at)) load_patch(at, whole_patch());
    if (at.tile == 0 || !weights_stay()) load_weights(at);
  }
  __device__ __forceinline__ void form(const Cursor& next) {
    if constexpr (kPrologue == Prologue::kForm) {
      if (!in_pieces()) {
        if (begins_whole_patch(next)) form_patch(next, whole_patch());
        return;
      }
      // Of the patch behind that of the step that is multiplied, the piece that has just arrived.
      const int number = (next.tap == 0 ? rows_.taps() : next.tap) - kAhead;
      if (number < 0) return;
      const Cursor patch = next.tap == 0 ? next : next_patch(next);
      if (patch.tile < tiles()) form_patch(patch, piece(number));
    }
  }

  const ConvGeometry& g_;
  Rows rows_;
  const ConvSource& source_;
  const T* const weight_;
  unsigned char *work_, *patches_, *weights_;
  float* coefficients_;
};

}  // namespace residuum::kernels
