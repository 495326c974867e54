// Convolution forward and backward-data as one implicit matrix product on tensor cores: rows are output
// pixels, columns output channels, the sum runs over channels (outer) and taps (inner). Source pixels reach
// shared memory as a patch: either the tile's own pixels for one tap (gather) or, read once for all taps, the
// run of pixels in memory order that the taps touch (halo). A lane finds tap t of its pixel at a fixed
// distance in the patch; where that is padding it reads a row of zeros instead, so whatever a prologue does
// to the patch, padding stays zero. Results leave through an epilogue in groups of eight channels of one
// pixel.
#pragma once

#include <type_traits>

#include "kernels/conv_geometry.h"
#include "kernels/conv_tiles.h"
#include "kernels/device/tile.cuh"
#include "kernels/device/vector.cuh"

namespace residuum::kernels {

/// Writes the first `count` of eight results to dst[offset] and its neighbours.
template <typename Dst>
__device__ __forceinline__ void store_eight(Dst* dst, int64_t offset, int count,
                                            const float (&values)[kUnit]) {
  if (count == kUnit && offset % kChunk<Dst> == 0) {
    store_unit<true>(values, dst + offset, count);
  } else {
    store_unit<false>(values, dst + offset, count);
  }
}

/// Writes results as they are, in type T or, as logits want it, in f32.
template <typename T>
struct StoreEpilogue {
  void* dst;
  bool as_f32;

  __device__ __forceinline__ void operator()(int64_t offset, int count, const float (&values)[kUnit]) const {
    if (as_f32) {
      store_eight(static_cast<float*>(dst), offset, count, values);
    } else {
      store_eight(static_cast<T*>(dst), offset, count, values);
    }
  }
};

/// How source pixels reach shared memory: the tile's own pixels for each tap, one patch for all taps, or (for
/// channels that are no whole chunks) the tile's pixels element by element, with padding checked per element.
enum class Patch : uint8_t { kGather, kHalo, kElements };

/// One block's work.
template <TileName kName, typename T, F32Math kMath, bool kBackwardData, Patch kPatch>
class ConvBlock {
 public:
  __device__ __forceinline__ ConvBlock(const ConvGeometry& g, const T* src, const T* weight,
                                       unsigned char* shared)
      : g_(g), taps_(g.taps(static_cast<int>(blockIdx.z) % g.classes())), src_(src), weight_(weight) {
    group_ = static_cast<int>(blockIdx.z) / g.classes();
    const int column_tiles = (g.columns + kTile.columns - 1) / kTile.columns;
    first_column_ = static_cast<int>(blockIdx.x) % column_tiles * kTile.columns;
    first_row_ = static_cast<int>(blockIdx.x) / column_tiles * kTile.rows;
    rows_ = reinterpret_cast<Row*>(shared);
    zeros_ = shared + kTile.rows * sizeof(Row);
    patches_ = zeros_ + kZeroBytes;
    weights_ = patches_ + g.patch_slots * g.patch_rows * kDepthBytes;
  }

  __device__ __forceinline__ bool has_work() const { return first_row_ < all_rows(); }

  template <typename Epilogue>
  __device__ __forceinline__ void run(const Epilogue& epilogue) {
    fill_rows();
    __syncthreads();
    lowest_ = rows_[0].src + taps_.lowest_h() * g_.src_w + taps_.lowest_w();
    find_weights();
    sum();
    __syncthreads();
    store(epilogue);
  }

 private:
  static constexpr Tile kTile = tile_of(kName);
  static constexpr int kThreads = kTile.threads();
  static constexpr int kDepthChunks = kTile.depth / kChunk<T>;
  static constexpr int kDepthBytes = kDepthChunks * kChunkBytes;
  static constexpr int kColumnChunks = kTile.columns / kChunk<T>;
  static constexpr int kWeightBytes = kTile.columns * kDepthBytes;
  static constexpr int kWeightChunks = kBackwardData ? kColumnChunks : kDepthChunks;
  static constexpr int kWeightRows = kBackwardData ? kTile.depth : kTile.columns;
  static constexpr int kZeroBytes = 128;
  static constexpr int kRowFragments = kTile.warp_rows() / 16;
  static constexpr int kColumnFragments = kTile.warp_columns() / 8;
  static constexpr int kAhead = kTile.stages - 1;
  /// Rows that all threads copy at once; whole periods of the swizzle, so that a thread's chunk stays in
  /// place.
  static constexpr int kPatchPass = kThreads / kDepthChunks, kWeightPass = kThreads / kWeightChunks;
  using FactorA = Factor<T, kMath, 4>;
  using FactorB = Factor<T, kMath, 2>;
  static_assert(kDepthBytes <= kZeroBytes && kColumnFragments % 2 == 0);
  static_assert(kPatchPass % 8 == 0 && kWeightPass % 8 == 0);

  /// This lane's part of a weight tile: deep in the forward pass, flat in backward-data.
  struct DeepWeights {
    SharedAddress address;
    __device__ __forceinline__ DeepWeights(SharedAddress tile, int first, int lane)
        : address(deep_lane<kDepthChunks>(tile, first + deep_column_of_lane(lane), lane / 8 % 2)) {}
    __device__ __forceinline__ void load(FactorB& b0, FactorB& b1, int step, int group) const {
      load_deep_columns<kDepthChunks>(b0, b1, address, step, group);
    }
  };
  struct FlatWeights {
    FlatLane<T, kColumnChunks, false> flat;
    __device__ __forceinline__ FlatWeights(SharedAddress tile, int first, int lane)
        : flat(tile, first, lane) {}
    __device__ __forceinline__ void load(FactorB& b0, FactorB& b1, int step, int group) const {
      load_flat_columns(b0, b1, flat, step, group);
    }
  };
  using WeightLane = std::conditional_t<kBackwardData, FlatWeights, DeepWeights>;

  /// A pixel of the tile: the source pixel of tap offset (0, 0), its position y << 16 | x, and where the
  /// result goes. Beyond the last pixel: no tap is inside the image, and dst is -1.
  struct Row {
    int src, position, dst, unused;
  };

  /// Where the sum stands: channel depth of the step, tap (i, j), and the ring slots of its operands.
  struct Cursor {
    int depth = 0, i = 0, j = 0, patch_slot = 0, weight_slot = 0;

    __device__ __forceinline__ bool begins_patch() const {
      return kPatch != Patch::kHalo || (i == 0 && j == 0);
    }
    __device__ __forceinline__ void next(const ConvGeometry& g, const TapGrid& taps) {
      if (++weight_slot == kTile.stages) weight_slot = 0;
      if (++j == taps.taps_w) {
        j = 0;
        if (++i == taps.taps_h) {
          i = 0;
          depth += kTile.depth;
        }
      }
      if (begins_patch() && ++patch_slot == g.patch_slots) patch_slot = 0;
    }
  };

  __device__ __forceinline__ static int thread() { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ static int lane() { return thread() % 32; }
  __device__ __forceinline__ static int warp() { return thread() / 32; }
  __device__ __forceinline__ static int warp_row() { return warp() / kTile.warps_n * kTile.warp_rows(); }
  __device__ __forceinline__ static int warp_column() {
    return warp() % kTile.warps_n * kTile.warp_columns();
  }
  __device__ __forceinline__ int all_rows() const { return g_.n * taps_.grid_h * taps_.grid_w; }

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
    }
    if (thread() < kZeroBytes / kChunkBytes) reinterpret_cast<uint4*>(zeros_)[thread()] = uint4{0, 0, 0, 0};
  }

  /// Whether the pixel at `position` has its tap at distance (dh, dw) inside the image.
  __device__ __forceinline__ bool inside(int position, int dh, int dw) const {
    const int h = (position >> 16) + dh, w = static_cast<int16_t>(position & 0xFFFF) + dw;
    return static_cast<unsigned>(h) < static_cast<unsigned>(g_.src_h) &&
           static_cast<unsigned>(w) < static_cast<unsigned>(g_.src_w);
  }

  /// The weights this thread copies for tap (0, 0) and depth 0; rows of a weight tile are output channels of
  /// the forward pass, either way.
  __device__ __forceinline__ void find_weights() {
    const int first = kBackwardData ? 0 : first_column_, rows = kBackwardData ? g_.depth : g_.columns;
    const int chunk = thread() % kWeightChunks, row = first + thread() / kWeightChunks;
    const int column = (kBackwardData ? first_column_ : 0) + chunk * kChunk<T>;
    weight_ += static_cast<int64_t>(group_ * rows + row) * g_.weight_pitch + column;
    weight_rows_ = rows - row;
    weight_columns_ = (kBackwardData ? g_.columns : g_.depth) - column;
  }

  __device__ __forceinline__ void load(const Cursor& at) {
    if (at.begins_patch()) load_patch(at);
    load_weights(at);
  }

  __device__ __forceinline__ void load_patch(const Cursor& at) {
    const int chunk = thread() % kDepthChunks, channel = at.depth + chunk * kChunk<T>;
    const int first = thread() / kDepthChunks;
    unsigned char* const to =
        patches_ + at.patch_slot * g_.patch_rows * kDepthBytes + chunk_offset<kDepthChunks>(first, chunk);
    const int dh = taps_.first_h + at.i * taps_.step, dw = taps_.first_w + at.j * taps_.step;
    const bool exists = channel < g_.depth;
    const T* const from = src_ + group_ * g_.depth + channel;
    if constexpr (kPatch == Patch::kHalo) {
      const int pixels = g_.n * g_.src_h * g_.src_w;
#pragma unroll 1
      for (int r = first; r < g_.patch_rows; r += kPatchPass) {
        const int pixel = lowest_ + r;
        const bool valid = exists && static_cast<unsigned>(pixel) < static_cast<unsigned>(pixels);
        cp_async_16(shared_address(to + (r - first) * kDepthBytes),
                    from + static_cast<int64_t>(pixel) * g_.src_c, valid);
      }
    } else {
      const int distance = dh * g_.src_w + dw;
#pragma unroll
      for (int pass = 0; pass < kTile.rows; pass += kPatchPass) {
        const Row& row = rows_[first + pass];
        if constexpr (kPatch == Patch::kGather) {
          const bool valid = exists && inside(row.position, dh, dw);
          cp_async_16(shared_address(to + pass * kDepthBytes),
                      from + static_cast<int64_t>(row.src + distance) * g_.src_c, valid);
        } else {
          load_elements(to + pass * kDepthBytes, row, dh, dw, channel);
        }
      }
    }
  }

  /// A chunk that starts at any element: elements of the pixel's row of the image from `channel` of tap dw
  /// on; those left and right of the row are padding.
  __device__ __forceinline__ void load_elements(unsigned char* to, const Row& row, int dh, int dw,
                                                int channel) {
    const int h = (row.position >> 16) + dh, w = static_cast<int16_t>(row.position & 0xFFFF) + dw;
    const int first = w * g_.src_c + group_ * g_.depth + channel;
    const bool valid = static_cast<unsigned>(h) < static_cast<unsigned>(g_.src_h) && row.dst >= 0;
    const int begin = max(0, -first), end = min(g_.src_w * g_.src_c - first, g_.depth - channel);
    const int64_t row_begin = (static_cast<int64_t>(row.src) + dh * g_.src_w + dw - w) * g_.src_c;
    store_partial_chunk(to, src_ + row_begin + first, begin, valid ? end : 0);
  }

  __device__ __forceinline__ void load_weights(const Cursor& at) {
    unsigned char* const to = weights_ + at.weight_slot * kWeightBytes +
                              chunk_offset<kWeightChunks>(thread() / kWeightChunks, thread() % kWeightChunks);
    const int tap = (taps_.first_r + at.i * taps_.r_step) * g_.kernel_w + taps_.first_s + at.j * taps_.r_step;
    const int rows = weight_rows_ - (kBackwardData ? at.depth : 0);
    const int columns = weight_columns_ - (kBackwardData ? 0 : at.depth);
    const T* from = weight_ + tap * g_.weight_tap +
                    static_cast<int64_t>(at.depth) * (kBackwardData ? g_.weight_pitch : 1);
#pragma unroll
    for (int pass = 0; pass < kWeightRows; pass += kWeightPass) {
      if (kWeightPass > kWeightRows && thread() / kWeightChunks >= kWeightRows) break;
      unsigned char* const dst = to + pass * kWeightChunks * kChunkBytes;
      if constexpr (kPatch != Patch::kElements) {
        cp_async_16(shared_address(dst), from, pass < rows && columns > 0);
      } else {
        store_partial_chunk(dst, from, 0, pass < rows ? columns : 0);
      }
      from += static_cast<int64_t>(kWeightPass) * g_.weight_pitch;
    }
  }

  __device__ __forceinline__ void sum() {
    clear(sums_);
    const int steps = taps_.taps() * ((g_.depth + kTile.depth - 1) / kTile.depth);
    Cursor ahead, now;
    for (int step = 0; step < kAhead; ++step) {
      if (step < steps) load(ahead);
      ahead.next(g_, taps_);
      cp_async_commit();
    }
    for (int step = 0; step < steps; ++step) {
      cp_async_wait<kAhead - 1>();
      // A prologue transforms a patch here, each thread what it copied itself.
      __syncthreads();
      if (step + kAhead < steps) load(ahead);
      ahead.next(g_, taps_);
      cp_async_commit();
      multiply(now);
      now.next(g_, taps_);
    }
    cp_async_wait<0>();
  }

  /// Where this lane reads row fragment `f` of the patch for the tap at distance (dh, dw).
  __device__ __forceinline__ SharedAddress patch_lane(SharedAddress patch, int f, int dh, int dw) const {
    const int chunk = lane() / 16;
    if constexpr (kPatch == Patch::kHalo) {
      // From shared memory at every tap: kept in registers, two numbers a fragment make the wide tile spill.
      const Row& row = rows_[warp_row() + lane() % 16 + 16 * f];
      if (!inside(row.position, dh, dw)) return deep_lane<kDepthChunks>(shared_address(zeros_), 0, chunk);
      return deep_lane<kDepthChunks>(patch, row.src - lowest_ + dh * g_.src_w + dw, chunk);
    } else {
      return deep_lane<kDepthChunks>(patch, warp_row() + lane() % 16, chunk) +
             static_cast<SharedAddress>(16 * f * kDepthBytes);
    }
  }

  __device__ __forceinline__ void multiply(const Cursor& at) {
    const int dh = taps_.first_h + at.i * taps_.step, dw = taps_.first_w + at.j * taps_.step;
    const SharedAddress patch = shared_address(patches_ + at.patch_slot * g_.patch_rows * kDepthBytes);
    SharedAddress pixel[kRowFragments];
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) pixel[f] = patch_lane(patch, f, dh, dw);
    const WeightLane weights(shared_address(weights_ + at.weight_slot * kWeightBytes), warp_column(), lane());
#pragma unroll
    for (int step = 0; step < kTile.depth / FactorA::kDepth; ++step) {
      FactorA a[kRowFragments];
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) load_deep_rows(a[f], pixel[f], step);
#pragma unroll
      for (int q = 0; q < kColumnFragments; q += 2) {
        FactorB b0, b1;
        weights.load(b0, b1, step, q / 2);
#pragma unroll
        for (int f = 0; f < kRowFragments; ++f) {
          multiply_add(sums_[f][q], a[f], b0);
          multiply_add(sums_[f][q + 1], a[f], b1);
        }
      }
    }
  }

  /// Each warp passes sixteen rows at a time through shared memory, so that a lane holds eight channels of
  /// one pixel.
  template <typename Epilogue>
  __device__ __forceinline__ void store(const Epilogue& epilogue) {
    constexpr int kPitch = kTile.warp_columns() + 4;  // 4: rows of a fragment fall into different banks
    constexpr int kEights = kTile.warp_columns() / 8;
    float* const stage = reinterpret_cast<float*>(patches_) + warp() * 16 * kPitch;
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) {
#pragma unroll
      for (int q = 0; q < kColumnFragments; ++q) {
        float* const to = stage + lane() / 4 * kPitch + 8 * q + lane() % 4 * 2;
        *reinterpret_cast<float2*>(to) = make_float2(sums_[f][q][0], sums_[f][q][1]);
        *reinterpret_cast<float2*>(to + 8 * kPitch) = make_float2(sums_[f][q][2], sums_[f][q][3]);
      }
      __syncwarp();
      for (int item = lane(); item < 16 * kEights; item += 32) {
        const int r = item / kEights, column = warp_column() + item % kEights * 8;
        const int dst = rows_[warp_row() + 16 * f + r].dst, count = g_.columns - first_column_ - column;
        if (dst < 0 || count <= 0) continue;
        alignas(16) float values[kUnit];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          reinterpret_cast<float4*>(values)[i] =
              reinterpret_cast<const float4*>(stage + r * kPitch + item % kEights * 8)[i];
        }
        epilogue(static_cast<int64_t>(dst) * g_.dst_c + group_ * g_.columns + first_column_ + column,
                 min(count, 8), values);
      }
      __syncwarp();
    }
  }

  const ConvGeometry& g_;
  const TapGrid taps_;
  const T* src_;
  const T* weight_;
  int group_, first_column_, first_row_, lowest_ = 0;
  Row* rows_;
  unsigned char *zeros_, *patches_, *weights_;
  int weight_rows_ = 0, weight_columns_ = 0;  ///< left of this thread's first weight
  float sums_[kRowFragments][kColumnFragments][4];
};

/// Blocks that shall fit a multiprocessor: a patch for all taps leaves room for two.
constexpr int resident_blocks(TileName name, Patch patch) {
  return patch == Patch::kHalo ? std::min(tile_of(name).blocks, 2) : tile_of(name).blocks;
}

template <TileName kName, typename T, F32Math kMath, bool kBackwardData, Patch kPatch, typename Epilogue>
__global__ void __launch_bounds__(tile_of(kName).threads(), resident_blocks(kName, kPatch))
    conv_kernel(const ConvGeometry g, const T* src, const T* weight, const Epilogue epilogue) {
  DYNAMIC_SHARED(shared);
  ConvBlock<kName, T, kMath, kBackwardData, kPatch> block(g, src, weight, shared);
  if (block.has_work()) block.run(epilogue);
}

/// Shared memory of conv_kernel: conv_shared_bytes, or what its epilogue needs if that is more.
template <TileName kName, typename T>
size_t conv_launch_bytes(const ConvGeometry& g) {
  constexpr Tile kTile = tile_of(kName);
  constexpr size_t kStage = sizeof(float) * 16 * (kTile.warp_columns() + 4) * kTile.warps_m * kTile.warps_n;
  return std::max(conv_shared_bytes(g, kTile, sizeof(T)), kTile.rows * size_t{16} + 128 + kStage);
}

template <TileName kName, typename T, F32Math kMath, bool kBackwardData, Patch kPatch, typename Epilogue>
void launch_conv_tile(const ConvGeometry& g, const T* src, const T* weight, const Epilogue& epilogue,
                      Stream stream) {
  constexpr Tile kTile = tile_of(kName);
  int64_t rows = 0;
  for (int parity = 0; parity < g.classes(); ++parity) {
    const TapGrid taps = g.taps(parity);
    rows = std::max(rows, int64_t{g.n} * taps.grid_h * taps.grid_w);
  }
  const int64_t tiles =
      (rows + kTile.rows - 1) / kTile.rows * ((g.columns + kTile.columns - 1) / kTile.columns);
  launch(kBackwardData ? "conv_backward_data" : "conv_forward",
         conv_kernel<kName, T, kMath, kBackwardData, kPatch, Epilogue>,
         dim3(static_cast<unsigned>(tiles), 1, static_cast<unsigned>(g.groups * g.classes())),
         dim3(kTile.threads()), conv_launch_bytes<kName, T>(g), stream, g, src, weight, epilogue);
}

/// conv_forward and conv_backward_data of one element type; conv_TYPE.cu instantiates it.
template <typename T, F32Math kMath, bool kBackwardData, typename Epilogue>
void launch_conv(const ConvProblem& problem, const T* src, const T* weight, const Epilogue& epilogue,
                 Stream stream) {
  const ConvGeometry g = conv_geometry(problem, kBackwardData);
  const auto elements = [&]<TileName kName>() {
    launch_conv_tile<kName, T, kMath, kBackwardData, Patch::kElements>(g, src, weight, epilogue, stream);
  };
  const auto chunks = [&]<TileName kName>() {
    if (g.halo) {
      launch_conv_tile<kName, T, kMath, kBackwardData, Patch::kHalo>(g, src, weight, epilogue, stream);
    } else {
      launch_conv_tile<kName, T, kMath, kBackwardData, Patch::kGather>(g, src, weight, epilogue, stream);
    }
  };
  const TileName tile = conv_tile(problem, kBackwardData);
  if constexpr (sizeof(T) == 4) {
    if (tile == TileName::kConvF32Packed) return elements.template operator()<TileName::kConvF32Packed>();
    return chunks.template operator()<TileName::kConvF32>();
  } else {
    if (tile == TileName::kConvPacked) return elements.template operator()<TileName::kConvPacked>();
    if (tile == TileName::kConvWide) return chunks.template operator()<TileName::kConvWide>();
    if (tile == TileName::kConvMedium) return chunks.template operator()<TileName::kConvMedium>();
    if (tile == TileName::kConvNarrow) return chunks.template operator()<TileName::kConvNarrow>();
    return chunks.template operator()<TileName::kConvSlim>();
  }
}

}  // namespace residuum::kernels
