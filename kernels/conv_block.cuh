// Convolution forward and backward-data as one implicit matrix product on tensor cores: rows are output
// pixels, columns output channels, the sum runs over channels (outer) and taps (inner). Source pixels reach
// shared memory as a patch: either the tile's own pixels for one tap (gather) or, read once for all taps, the
// run of pixels in memory order that the taps touch (halo). A lane finds tap t of its pixel at a fixed
// distance in the patch; where that is padding it reads a row of zeros instead, so whatever a prologue
// (conv_source.cuh) does to the patch, padding stays zero. Results leave through an epilogue
// (conv_result.cuh) in groups of eight channels of one pixel. A block handles a run of tiles of rows, one
// after the other.
#pragma once

#include <type_traits>

#include "kernels/conv_geometry.h"
#include "kernels/conv_result.cuh"
#include "kernels/conv_source.cuh"
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
        in_shared_(*reinterpret_cast<Scalars*>(shared + kTile.rows * sizeof(Row) + kZeroBytes)),
        taps_(find_taps()),
        source_(source),
        weight_(weight),
        result_(result, group() * g.columns + first_column(), g.columns - first_column(), g.dst_c,
                shared + conv_shared_bytes(g, tile_of(kName), sizeof(T))) {
    rows_ = reinterpret_cast<Row*>(shared);
    zeros_ = shared + kTile.rows * sizeof(Row);
    patches_ = zeros_ + kZeroBytes + kScalarBytes;
    weights_ = patches_ + (has_two_tensors() ? 2 : 1) * patch_ring();
    if constexpr (kProduct == Product::kWarpgroup) weights_ = aligned_for_wgmma(weights_);
    coefficients_ = reinterpret_cast<float*>(patches_ + conv_work_bytes(g, tile_of(kName), sizeof(T)));
  }

  __device__ __forceinline__ bool has_work() const { return run_first() < all_rows(); }

  __device__ __forceinline__ void run() {
    find_weights();
    const int end = min(run_first() + g_.run * kTile.rows, all_rows());
    for (first_row_ = run_first(); first_row_ < end; first_row_ += kTile.rows) {
      fill_rows();
      __syncthreads();
      sum();
      __syncthreads();
      store();
      __syncthreads();
    }
    if (result_.sums() > 0) finish_sums();
  }

 private:
  /// What all threads know alike, in shared memory: registers are scarce.
  struct Scalars {
    int lowest;    ///< the first source pixel of a halo's patch
    TapGrid taps;  ///< of backward-data
  };

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
  static constexpr int kZeroBytes = 128, kScalarBytes = 128;
  static constexpr int kRowFragments = kTile.warp_rows() / 16;
  static constexpr int kColumnFragments = kTile.warp_columns() / 8;
  static constexpr int kAhead = kTile.stages - 1;
  static constexpr int kPitch = kTile.warp_columns() + 4, kEights = kTile.warp_columns() / 8;
  /// Rows that all threads copy at once; whole periods of the swizzle, so that a thread's chunk stays in
  /// place.
  static constexpr int kPatchPass = kThreads / kDepthChunks, kWeightPass = kThreads / kWeightChunks;
  using FactorA = Factor<T, kMath, 4>;
  static_assert(kDepthBytes <= kZeroBytes && sizeof(Scalars) <= kScalarBytes && kColumnFragments % 2 == 0);
  static_assert(kPatchPass % 8 == 0 && kWeightPass % 8 == 0);

  /// Chunks of a weight tile's row that lie together: warpgroups want flat tiles in panels of 64 columns.
  static constexpr int kPanelChunks =
      kBackwardData && kProduct == Product::kWarpgroup ? kWarpgroupPanel<T> : kWeightChunks;
  using WeightFactor = std::conditional_t<
      kProduct == Product::kWarpgroup,
      WarpgroupFactor<T, kMath, kBackwardData, kBackwardData ? 128 : kDepthBytes, kTile.depth>,
      std::conditional_t<kBackwardData, FlatFactor<T, kMath, kColumnChunks>,
                         DeepFactor<T, kMath, kDepthChunks>>>;

  /// A pixel of the tile: the source pixel of tap offset (0, 0), its position y << 16 | x, and where the
  /// result goes. Beyond the last pixel: no tap is inside the image, and dst is -1.
  struct Row {
    int src, position, dst, unused;
  };

  static constexpr bool kWholeResults = sizeof(T) == 2 && kPatch != Patch::kElements;
  using Result = ResultBlock<T, kTile.columns, kThreads, kWholeResults, kBackwardData>;

  /// Where the sum stands: channel depth of the step, tap (i, j), and the ring slots of its operands.
  struct Cursor {
    int depth = 0, i = 0, j = 0, patch_slot = 0, weight_slot = 0;

    __device__ __forceinline__ bool begins_patch() const {
      return kPatch != Patch::kHalo || (i == 0 && j == 0);
    }
    __device__ __forceinline__ void next(const ConvGeometry& g, const TapGrid& taps) {
      if (++weight_slot == kTile.stages) weight_slot = 0;
      if constexpr (kOnlyConcat) {
        depth += kTile.depth;
        return;
      }
      if (++j == taps.taps_w) {
        j = 0;
        if (++i == taps.taps_h) {
          i = 0;
          depth += kTile.depth;
        }
      }
      if (kPatch == Patch::kHalo && begins_patch() && ++patch_slot == g.patch_slots) patch_slot = 0;
    }
    /// Found anew for every load: a second cursor would take registers that the sums need.
    __device__ __forceinline__ Cursor later(int steps, const ConvGeometry& g, const TapGrid& taps) const {
      Cursor cursor = *this;
      for (int step = 0; step < steps; ++step) cursor.next(g, taps);
      return cursor;
    }
  };

  /// Said to be below kThreads: divisions are then shifts, cheaper to repeat than to keep in registers.
  __device__ __forceinline__ static int thread() { return static_cast<int>(threadIdx.x % kThreads); }
  __device__ __forceinline__ static int lane() { return thread() % 32; }
  __device__ __forceinline__ static int warp() { return thread() / 32; }
  __device__ __forceinline__ static int warp_row() { return warp() / kTile.warps_n * kTile.warp_rows(); }
  __device__ __forceinline__ static int warp_column() {
    return warp() % kTile.warps_n * kTile.warp_columns();
  }
  __device__ __forceinline__ int all_rows() const { return g_.n * taps_.grid_h * taps_.grid_w; }

  // Blocks: column tiles are neighbours, as they read the same pixels; then the runs of rows; groups and
  // parity classes.
  __device__ __forceinline__ static int column_tile() { return static_cast<int>(blockIdx.x); }
  __device__ __forceinline__ static int run_number() { return static_cast<int>(blockIdx.y); }
  __device__ __forceinline__ int run_first() const { return run_number() * g_.run * kTile.rows; }
  __device__ __forceinline__ static int first_column() { return column_tile() * kTile.columns; }

  __device__ __forceinline__ bool has_two_tensors() const {
    return kPrologue == Prologue::kForm && reads_two<kName, kBackwardData>(g_.form);
  }
  __device__ __forceinline__ bool is_concat() const {
    return kOnlyConcat || (kCanConcat && g_.form == Form::kConcat);
  }
  /// The first channel that is formed; of kConcat, where its second tensor begins.
  __device__ __forceinline__ int first_formed() const { return kCanConcat ? g_.depth - g_.formed : 0; }
  __device__ __forceinline__ int formed() const { return kCanConcat ? g_.formed : g_.depth; }
  __device__ __forceinline__ decltype(auto) find_taps() {
    if constexpr (kBackwardData) {
      if (thread() == 0) in_shared_.taps = g_.backward_taps(parity());
      __syncthreads();
      return static_cast<const TapGrid&>(in_shared_.taps);
    } else {
      return g_.forward_taps();
    }
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
  /// The slot of the patch of a step.
  __device__ __forceinline__ int patch_offset(const Cursor& at) const {
    return (kPatch == Patch::kHalo ? at.patch_slot : at.weight_slot) * patch_rows() * kDepthBytes;
  }
  /// Bytes of the patches of one tensor.
  __device__ __forceinline__ int patch_ring() const { return patch_slots() * patch_rows() * kDepthBytes; }

  __device__ __forceinline__ void fill_rows() {
    for (int r = thread(); r < kTile.rows; r += kThreads) {
      const int m = first_row_ + r;
      Row row{0, static_cast<int>(0x80008000u), -1, 0};
      if (m < all_rows()) {
        const int x = m % taps_.grid_w, rest = m / taps_.grid_w;
        const int y = rest % taps_.grid_h, image = rest / taps_.grid_h;
        const int h = y * taps_.src_stride, w = x * taps_.src_stride;
        row.src = (image * g_.src_h + h) * g_.src_w + w;
        row.position = h << 16 | w;
        row.dst = (image * g_.dst_h + y * taps_.dst_stride + taps_.offset_h) * g_.dst_w +
                  x * taps_.dst_stride + taps_.offset_w;
      }
      rows_[r] = row;
      if (r == 0) in_shared_.lowest = row.src + taps_.lowest_h() * g_.src_w + taps_.lowest_w();
    }
    if (thread() < kZeroBytes / kChunkBytes) reinterpret_cast<uint4*>(zeros_)[thread()] = uint4{0, 0, 0, 0};
  }

  /// Whether the pixel at `position` has its tap at distance (dh, dw) inside the image.
  __device__ __forceinline__ bool inside(int position, int dh, int dw) const {
    const int h = (position >> 16) + dh, w = static_cast<int16_t>(position & 0xFFFF) + dw;
    return static_cast<unsigned>(h) < static_cast<unsigned>(g_.src_h) &&
           static_cast<unsigned>(w) < static_cast<unsigned>(g_.src_w);
  }

  // Rows of a weight tile are output channels of the forward pass, either way.
  __device__ __forceinline__ int weight_row() const {
    return (kBackwardData ? 0 : first_column()) + thread() / kWeightChunks;
  }
  __device__ __forceinline__ int weight_column() const {
    return (kBackwardData ? first_column() : 0) + thread() % kWeightChunks * kChunk<T>;
  }
  /// The weights this thread copies for tap (0, 0) and depth 0.
  __device__ __forceinline__ void find_weights() {
    const int rows = kBackwardData ? g_.depth : g_.columns;
    weight_first_ =
        static_cast<unsigned>((group() * rows + weight_row()) * g_.weight_pitch + weight_column());
  }

  __device__ __forceinline__ void load(const Cursor& at) {
    if (at.begins_patch()) load_patch(at);
    load_weights(at);
  }

  /// visit(place in the slot, source pixel, whether it is one) for each chunk of a patch that this thread
  /// copies. Its channels exist.
  template <bool kUnrolled, typename Visit>
  __device__ __forceinline__ void visit_patch(const Cursor& at, const Visit& visit) const {
    const int first = thread() / kDepthChunks;
    const int place = patch_offset(at) + chunk_offset<kDepthChunks>(first, thread() % kDepthChunks);
    if constexpr (kPatch == Patch::kHalo) {
      const int pixels = g_.n * g_.src_h * g_.src_w, lowest = in_shared_.lowest;
#pragma unroll 1
      for (int r = first; r < patch_rows(); r += kPatchPass) {
        const int pixel = lowest + r;
        visit(place + (r - first) * kDepthBytes, pixel,
              static_cast<unsigned>(pixel) < static_cast<unsigned>(pixels));
      }
    } else {
      const int dh = tap_h(at), dw = tap_w(at), distance = dh * g_.src_w + dw;
#pragma unroll(kUnrolled ? kTile.rows / kPatchPass : 1)
      for (int pass = 0; pass < kTile.rows; pass += kPatchPass) {
        const Row& row = rows_[first + pass];
        visit(place + pass * kDepthBytes, row.src + distance, inside(row.position, dh, dw));
      }
    }
  }

  /// The first channel of the chunks this thread copies, within its group.
  __device__ __forceinline__ static int channel_of(const Cursor& at) {
    return at.depth + thread() % kDepthChunks * kChunk<T>;
  }
  __device__ __forceinline__ int tap_h(const Cursor& at) const {
    return kOnlyConcat ? 0 : taps_.first_h + at.i * taps_.step;
  }
  __device__ __forceinline__ int tap_w(const Cursor& at) const {
    return kOnlyConcat ? 0 : taps_.first_w + at.j * taps_.step;
  }

  __device__ __forceinline__ void load_patch(const Cursor& at) {
    if constexpr (kPatch == Patch::kElements) {
      load_elements(at);
    } else {
      if (is_concat()) {
        const bool second = channel_of(at) >= first_formed();
        return load_chunks(at, second ? source_.b : source_.a, second ? -first_formed() : 0,
                           second ? formed() : first_formed(), patches_);
      }
      const int first = group() * g_.depth;
      load_chunks(at, source_.a, first, g_.src_c, patches_);
      if (has_two_tensors()) load_chunks(at, source_.b, first, g_.src_c, patches_ + patch_ring());
    }
  }

  /// From a tensor with `pitch` channels, where channel c of the sum is number first + c.
  __device__ __forceinline__ void load_chunks(const Cursor& at, const void* tensor, int first, int pitch,
                                              unsigned char* patches) {
    const int channel = channel_of(at);
    const bool exists = channel < g_.depth;
    const T* const from = static_cast<const T*>(tensor) + first + channel;
    // Not unrolled where the two pitches of kConcat would take registers that the sums need.
    visit_patch<!kOnlyConcat>(at, [&](int place, int pixel, bool valid) {
      cp_async_16(shared_address(patches + place), from + static_cast<int64_t>(pixel) * pitch,
                  exists && valid);
    });
  }

  /// Turns the chunks of a patch that this thread copied into what is multiplied; zeros outside of the tensor
  /// stay. Blocks of the first columns also store the tile's own pixels where that is wanted.
  __device__ __forceinline__ void form_patch(const Cursor& at) {
    const int channel = channel_of(at);
    if (channel >= g_.depth || channel < first_formed()) return;
    if (kCanConcat && source_.vectors.mean == nullptr) return;
    const FormCoefficients coefficients{coefficients_ + channel - first_formed(), formed()};
    const bool own_tap = kPatch == Patch::kHalo || (tap_h(at) == 0 && tap_w(at) == 0);
    const bool stores = source_.dst != nullptr && column_tile() == 0 && own_tap;
    const unsigned stored_rows = stores ? static_cast<unsigned>(min(kTile.rows, all_rows() - first_row_)) : 0;
    visit_patch<false>(at, [&](int place, int pixel, bool valid) {
      if (!valid) return;
      unsigned char* const a = patches_ + place;
      const uint4 formed = form_chunk<T, kName, kBackwardData>(source_, coefficients, a, a + patch_ring());
      *reinterpret_cast<uint4*>(a) = formed;
      if constexpr (!kOnlyConcat) {
        if (static_cast<unsigned>(pixel - first_row_) >= stored_rows) return;
        store_formed<T>(source_, formed,
                        static_cast<int64_t>(pixel) * g_.src_c + group() * g_.depth + channel);
      }
    });
  }

  /// Chunks that start at any element: of each row, elements from this thread's channel of a tap on; those
  /// left and right of the image's line are padding.
  __device__ __forceinline__ void load_elements(const Cursor& at) {
    const int dh = tap_h(at), dw = tap_w(at), channel = channel_of(at), first = thread() / kDepthChunks;
    unsigned char* const to =
        patches_ + patch_offset(at) + chunk_offset<kDepthChunks>(first, thread() % kDepthChunks);
#pragma unroll
    for (int pass = 0; pass < kTile.rows; pass += kPatchPass) {
      const Row& row = rows_[first + pass];
      const int h = (row.position >> 16) + dh, w = static_cast<int16_t>(row.position & 0xFFFF) + dw;
      const int element = w * g_.src_c + group() * g_.depth + channel;
      const bool valid = static_cast<unsigned>(h) < static_cast<unsigned>(g_.src_h) && row.dst >= 0;
      const int begin = max(0, -element), end = min(g_.src_w * g_.src_c - element, g_.depth - channel);
      const int64_t line = (static_cast<int64_t>(row.src) + dh * g_.src_w + dw - w) * g_.src_c;
      store_partial_chunk(to + pass * kDepthBytes, static_cast<const T*>(source_.a) + line + element, begin,
                          valid ? end : 0);
    }
  }

  __device__ __forceinline__ void load_weights(const Cursor& at) {
    const int own = thread() % kWeightChunks;
    unsigned char* const to = weights_ + at.weight_slot * kWeightBytes +
                              own / kPanelChunks * (kWeightRows * kPanelChunks * kChunkBytes) +
                              chunk_offset<kPanelChunks>(thread() / kWeightChunks, own % kPanelChunks);
    const int tap = kOnlyConcat ? 0
                                : (taps_.first_r + at.i * taps_.r_step) * g_.kernel_w + taps_.first_s +
                                      at.j * taps_.r_step;
    const int rows = (kBackwardData ? g_.depth - at.depth : g_.columns) - weight_row();
    const int columns = (kBackwardData ? g_.columns : g_.depth - at.depth) - weight_column();
    unsigned from = weight_first_ + static_cast<unsigned>(tap * g_.weight_tap) +
                    static_cast<unsigned>(at.depth * (kBackwardData ? g_.weight_pitch : 1));
#pragma unroll
    for (int pass = 0; pass < kWeightRows; pass += kWeightPass) {
      if (kWeightPass > kWeightRows && thread() / kWeightChunks >= kWeightRows) break;
      unsigned char* const dst = to + pass * kPanelChunks * kChunkBytes;
      if constexpr (kPatch != Patch::kElements) {
        cp_async_16(shared_address(dst), weight_ + from, pass < rows && columns > 0);
      } else {
        store_partial_chunk(dst, weight_ + from, 0, pass < rows ? columns : 0);
      }
      from += static_cast<unsigned>(kWeightPass * g_.weight_pitch);
    }
  }

  __device__ __forceinline__ void sum() {
    Cursor now;
    if (taps_.taps() == 0) now.depth = g_.depth;
#pragma unroll
    for (int step = 0; step < kAhead; ++step) {
      const Cursor ahead = now.later(step, g_, taps_);
      if (ahead.depth < g_.depth) load(ahead);
      cp_async_commit();
    }
    if (first_row_ == run_first()) stage_vectors();
    prefetch();
    clear(sums_);
    while (now.depth < g_.depth) {
      cp_async_wait<kAhead - 1>();
      if constexpr (kPrologue == Prologue::kForm) {
        if (now.begins_patch()) form_patch(now);
      }
      if constexpr (kProduct == Product::kWarpgroup) fence_shared_for_wgmma();
      __syncthreads();
      const Cursor ahead = now.later(kAhead, g_, taps_);
      if (ahead.depth < g_.depth) load(ahead);
      cp_async_commit();
      multiply(now);
      now.next(g_, taps_);
    }
    cp_async_wait<0>();
  }

  /// Asks for what finishing the tile's results reads, while the first operands are on their way.
  __device__ __forceinline__ void prefetch() {
    constexpr int kLineChannels = 128 / static_cast<int>(sizeof(T)), kLines = kTile.columns / kLineChannels;
    if constexpr (kLines > 0) {
      for (int i = thread(); i < kTile.rows * kLines; i += kThreads) {
        const int dst = rows_[i / kLines].dst, column = i % kLines * kLineChannels;
        if (dst >= 0 && column < g_.columns - first_column()) result_.prefetch(dst, column);
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

  /// Where this lane reads row fragment `f` of the patch for the tap at distance (dh, dw).
  __device__ __forceinline__ SharedAddress patch_lane(SharedAddress patch, int f, int dh, int dw) const {
    const int chunk = lane() / 16;
    if constexpr (kPatch == Patch::kHalo) {
      // From shared memory at every tap: kept in registers, two numbers a fragment make the wide tile spill.
      const Row& row = rows_[warp_row() + lane() % 16 + 16 * f];
      if (!inside(row.position, dh, dw)) return deep_lane<kDepthChunks>(shared_address(zeros_), 0, chunk);
      return deep_lane<kDepthChunks>(patch, row.src - in_shared_.lowest + dh * g_.src_w + dw, chunk);
    } else {
      return deep_lane<kDepthChunks>(patch, warp_row() + lane() % 16, chunk) +
             static_cast<SharedAddress>(16 * f * kDepthBytes);
    }
  }

  __device__ __forceinline__ void multiply(const Cursor& at) {
    const int dh = tap_h(at), dw = tap_w(at);
    const SharedAddress patch = shared_address(patches_ + patch_offset(at));
    SharedAddress pixel[kRowFragments];
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) pixel[f] = patch_lane(patch, f, dh, dw);
    const WeightFactor weights(shared_address(weights_ + at.weight_slot * kWeightBytes), warp_column(),
                               lane());
    multiply_steps<kTile.depth / FactorA::kDepth>(
        sums_, weights, [&](auto& a, int step, int f) { load_deep_rows(a, pixel[f], step); });
  }

  /// Each warp passes its rows through shared memory, so that a lane holds eight channels of one pixel, the
  /// same channels of every pixel it handles.
  __device__ __forceinline__ void store() {
    static_assert(kWarp % kEights == 0);
    float* const stage = stage_of(warp());
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) {
#pragma unroll
      for (int q = 0; q < kColumnFragments; ++q) {
        float* const to = stage + (16 * f + lane() / 4) * kPitch + 8 * q + lane() % 4 * 2;
        *reinterpret_cast<float2*>(to) = make_float2(sums_[f][q][0], sums_[f][q][1]);
        *reinterpret_cast<float2*>(to + 8 * kPitch) = make_float2(sums_[f][q][2], sums_[f][q][3]);
      }
    }
    if (result_.has_statistics() && first_row_ == run_first()) set_shift();
    __syncwarp();
    LaneSums sums = {};
    const int column = warp_column() + lane() % kEights * 8;
    if (column < g_.columns - first_column()) {
#pragma unroll 1
      for (int r = lane() / kEights; r < kTile.warp_rows(); r += kWarp / kEights) {
        const int dst = rows_[warp_row() + r].dst;
        if (dst < 0) break;
        typename Result::Operands operands;
        result_.load(dst, column, operands);
        alignas(16) float values[kUnit];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          reinterpret_cast<float4*>(values)[i] =
              reinterpret_cast<const float4*>(stage + r * kPitch + lane() % kEights * 8)[i];
        }
        result_.finish(dst, column, operands, values, sums);
      }
    }
    if (result_.sums() > 0) add_sums(sums);
  }

  /// Where warp `w` leaves its results.
  __device__ __forceinline__ float* stage_of(int w) const {
    return reinterpret_cast<float*>(patches_) + w * kTile.warp_rows() * kPitch;
  }
  /// Of column `c`, the place in the stage of the warp in warp row `w`.
  __device__ __forceinline__ float* stage_of(int w, int c) const {
    return stage_of(w * kTile.warps_n + c / kTile.warp_columns()) + c % kTile.warp_columns();
  }

  __device__ __forceinline__ void set_shift() {
    __syncthreads();
    if (thread() < kTile.columns) result_.set_shift(thread(), *stage_of(0, thread()), rows_[0].dst);
    __syncthreads();
  }

  /// Adds the sums of the tile to those of the run.
  __device__ __forceinline__ void add_sums(LaneSums& sums) {
    __syncwarp();  // the stage is read no more
    result_.template reduce<kEights>(sums, lane(), kTile.warp_columns(), stage_of(warp()));
    __syncthreads();
    result_.add_tile(kTile.warps_m,
                     [&](int w, int sum, int c) { return stage_of(w, c)[sum * kTile.warp_columns()]; });
  }

  __device__ __forceinline__ void finish_sums() {
    // Statistics, which alone ask for the rows of a part, are of the forward pass: one class.
    const auto rows_of = [&](int part) {
      const int step = g_.run * kTile.rows;
      return static_cast<double>(min(step, all_rows() - part * step));
    };
    const int part = g_.first_part(parity(), kTile.rows) + run_number();
    const int column_counter = group() * g_.column_tiles(kTile.columns) + column_tile();
    result_.finish_run(part, g_.first_part(g_.classes(), kTile.rows), column_counter, all_rows(), rows_of,
                       reinterpret_cast<double*>(patches_));
  }

  const ConvGeometry& g_;
  Scalars& in_shared_;
  /// Of the forward pass, constants.
  std::conditional_t<kBackwardData, const TapGrid&, const TapGrid> taps_;
  const ConvSource& source_;
  const T* const weight_;
  unsigned weight_first_ = 0;  ///< element; there are fewer than 2^31
  Result result_;
  int first_row_ = 0;
  Row* rows_;
  unsigned char *zeros_, *patches_, *weights_;
  float* coefficients_;
  float sums_[kRowFragments][kColumnFragments][4];
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
