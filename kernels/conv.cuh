// Convolution forward and backward-data as one implicit matrix product on tensor cores: rows are output
// pixels, columns output channels, the sum runs over channels (outer) and taps (inner). Source pixels reach
// shared memory as a patch: either the tile's own pixels for one tap (gather) or, read once for all taps, the
// run of pixels in memory order that the taps touch (halo). A lane finds tap t of its pixel at a fixed
// distance in the patch; where that is padding it reads a row of zeros instead, so whatever a prologue does
// to the patch, padding stays zero. Results leave through an epilogue in groups of eight channels of one
// pixel.
#pragma once

#include "kernels/conv_geometry.h"
#include "kernels/conv_tiles.h"
#include "kernels/device/tile.cuh"

namespace residuum::kernels {

/// Writes the first `count` of eight results to dst[offset] and its neighbours.
template <typename Dst>
__device__ __forceinline__ void store_eight(Dst* dst, int64_t offset, int count, const float (&values)[8]) {
  alignas(16) Dst converted[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) converted[i] = from_float<Dst>(values[i]);
  if (count == 8 && offset % kChunk<Dst> == 0) {
#pragma unroll
    for (int i = 0; i < 8 / kChunk<Dst>; ++i) {
      reinterpret_cast<uint4*>(dst + offset)[i] = reinterpret_cast<const uint4*>(converted)[i];
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (i < count) dst[offset + i] = converted[i];
    }
  }
}

/// Writes results as they are, in type T or, as logits want it, in f32.
template <typename T>
struct StoreEpilogue {
  void* dst;
  bool as_f32;

  __device__ __forceinline__ void operator()(int64_t offset, int count, const float (&values)[8]) const {
    if (as_f32) {
      store_eight(static_cast<float*>(dst), offset, count, values);
    } else {
      store_eight(static_cast<T*>(dst), offset, count, values);
    }
  }
};

/// One block's work. `kAligned`: channels come in whole chunks and are copied asynchronously; else element by
/// element, with padding checked per element.
template <TileName kName, typename T, F32Math kMath, bool kBackwardData, bool kAligned>
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
    if constexpr (kAligned) lowest_ = rows_[0].src + taps_.lowest_h() * g_.src_w + taps_.lowest_w();
    const int lane_row = warp_row() + lane() % 16;
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) {
      const Row row = rows_[lane_row + 16 * f];
      lane_pixel_[f] = g_.halo ? row.src - lowest_ : lane_row + 16 * f;
      lane_position_[f] = row.position;
    }
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
  static constexpr int kZeroBytes = 128;
  static constexpr int kRowFragments = kTile.warp_rows() / 16;
  static constexpr int kColumnFragments = kTile.warp_columns() / 8;
  static constexpr int kAhead = kTile.stages - 1;
  using FactorA = Factor<T, kMath, 4>;
  using FactorB = Factor<T, kMath, 2>;
  static_assert(kDepthBytes <= kZeroBytes && kColumnFragments % 2 == 0);

  /// A pixel of the tile: the source pixel of tap offset (0, 0), its position y << 16 | x, and where the
  /// result goes. Beyond the last pixel: no tap is inside the image, and dst is -1.
  struct Row {
    int src, position, dst, unused;
  };

  /// Where the sum stands: channel depth of the step, tap (i, j), and the ring slots of its operands.
  struct Cursor {
    int depth = 0, i = 0, j = 0, patch_slot = 0, weight_slot = 0;

    __device__ __forceinline__ bool begins_patch(const ConvGeometry& g) const {
      return !g.halo || (i == 0 && j == 0);
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
      if (begins_patch(g) && ++patch_slot == g.patch_slots) patch_slot = 0;
    }
  };

  __device__ __forceinline__ static int thread() {
    return static_cast<int>(threadIdx.x);
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
  __device__ __forceinline__ int all_rows() const {
    return g_.n * taps_.grid_h * taps_.grid_w;
  }

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

  __device__ __forceinline__ void load(const Cursor& at) {
    if (at.begins_patch(g_)) load_patch(at);
    load_weights(at);
  }

  __device__ __forceinline__ void load_patch(const Cursor& at) {
    unsigned char* const patch = patches_ + at.patch_slot * g_.patch_rows * kDepthBytes;
    const int dh = taps_.first_h + at.i * taps_.step, dw = taps_.first_w + at.j * taps_.step;
    const int chunk = thread() % kDepthChunks, channel = at.depth + chunk * kChunk<T>;
    const int pixels = g_.n * g_.src_h * g_.src_w;
    for (int r = thread() / kDepthChunks; r < g_.patch_rows; r += kThreads / kDepthChunks) {
      unsigned char* const to = patch + chunk_offset<kDepthChunks>(r, chunk);
      if constexpr (kAligned) {
        int pixel = lowest_ + r;
        bool valid = static_cast<unsigned>(pixel) < static_cast<unsigned>(pixels);
        if (!g_.halo) {
          const Row row = rows_[r];
          pixel = row.src + dh * g_.src_w + dw;
          valid = inside(row.position, dh, dw);
        }
        valid = valid && channel < g_.depth;
        const T* const from =
            src_ + (valid ? static_cast<int64_t>(pixel) * g_.src_c + group_ * g_.depth + channel : 0);
        cp_async_16(shared_address(to), from, valid);
      } else {
        load_elements(to, rows_[r], dh, dw, channel);
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
    constexpr int kChunks = kBackwardData ? kColumnChunks : kDepthChunks;
    constexpr int kRows = kBackwardData ? kTile.depth : kTile.columns;
    unsigned char* const tile = weights_ + at.weight_slot * kWeightBytes;
    const int tap = (taps_.first_r + at.i * taps_.r_step) * g_.kernel_w + taps_.first_s + at.j * taps_.r_step;
    // Rows of the tile are output channels of the forward pass, either way.
    const int first = kBackwardData ? at.depth : first_column_, rows = kBackwardData ? g_.depth : g_.columns;
    const int chunk = thread() % kChunks;
    const int column = (kBackwardData ? first_column_ : at.depth) + chunk * kChunk<T>;
    const int columns = kBackwardData ? g_.columns : g_.depth;
    for (int r = thread() / kChunks; r < kRows; r += kThreads / kChunks) {
      unsigned char* const to = tile + chunk_offset<kChunks>(r, chunk);
      const bool valid = first + r < rows;
      const int64_t offset =
          static_cast<int64_t>(group_ * rows + first + r) * g_.weight_pitch + tap * g_.weight_tap + column;
      if constexpr (kAligned) {
        const bool inside_row = valid && column < columns;
        cp_async_16(shared_address(to), weight_ + (inside_row ? offset : 0), inside_row);
      } else {
        store_partial_chunk(to, weight_ + offset, 0, valid ? columns - column : 0);
      }
    }
  }

  __device__ __forceinline__ void sum() {
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) {
#pragma unroll
      for (int q = 0; q < kColumnFragments; ++q) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums_[f][q][i] = 0;
      }
    }
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

  __device__ __forceinline__ DeepRow patch_row(const Cursor& at, int f, int dh, int dw) const {
    if (kAligned && !inside(lane_position_[f], dh, dw)) return {shared_address(zeros_), 0};
    const int row = lane_pixel_[f] + (g_.halo ? dh * g_.src_w + dw : 0);
    return {shared_address(patches_ + (at.patch_slot * g_.patch_rows + row) * kDepthBytes),
            swizzle<kDepthChunks>(row)};
  }

  __device__ __forceinline__ void multiply(const Cursor& at) {
    const int dh = taps_.first_h + at.i * taps_.step, dw = taps_.first_w + at.j * taps_.step;
    DeepRow pixel[kRowFragments];
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) pixel[f] = patch_row(at, f, dh, dw);
    const SharedAddress weights = shared_address(weights_ + at.weight_slot * kWeightBytes);
#pragma unroll
    for (int step = 0; step < kTile.depth / FactorA::kDepth; ++step) {
      FactorA a[kRowFragments];
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) load_deep_rows(a[f], pixel[f], step, lane());
#pragma unroll
      for (int q = 0; q < kColumnFragments; q += 2) {
        FactorB b0, b1;
        load_weight_factors(b0, b1, weights, step, warp_column() + 8 * q);
#pragma unroll
        for (int f = 0; f < kRowFragments; ++f) {
          multiply_add(sums_[f][q], a[f], b0);
          multiply_add(sums_[f][q + 1], a[f], b1);
        }
      }
    }
  }

  __device__ __forceinline__ void load_weight_factors(FactorB& b0, FactorB& b1, SharedAddress weights,
                                                      int step, int first) const {
    if constexpr (kBackwardData) {
      load_flat_columns<T, kColumnChunks>(b0, b1, weights, step, first, lane());
    } else {
      const int row = first + deep_column_of_lane(lane());
      load_deep_columns(b0, b1,
                        {weights + static_cast<SharedAddress>(row * kDepthBytes), swizzle<kDepthChunks>(row)},
                        step, lane());
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
        alignas(16) float values[8];
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
  int lane_pixel_[kRowFragments], lane_position_[kRowFragments];
  float sums_[kRowFragments][kColumnFragments][4];
};

template <TileName kName, typename T, F32Math kMath, bool kBackwardData, bool kAligned, typename Epilogue>
__global__ void __launch_bounds__(tile_of(kName).threads(), tile_of(kName).blocks)
    conv_kernel(const ConvGeometry g, const T* src, const T* weight, const Epilogue epilogue) {
  DYNAMIC_SHARED(shared);
  ConvBlock<kName, T, kMath, kBackwardData, kAligned> block(g, src, weight, shared);
  if (block.has_work()) block.run(epilogue);
}

/// Shared memory of conv_kernel: conv_shared_bytes, or what its epilogue needs if that is more.
template <TileName kName, typename T>
size_t conv_launch_bytes(const ConvGeometry& g) {
  constexpr Tile kTile = tile_of(kName);
  constexpr size_t kStage = sizeof(float) * 16 * (kTile.warp_columns() + 4) * kTile.warps_m * kTile.warps_n;
  return std::max(conv_shared_bytes(g, kTile, sizeof(T)), kTile.rows * size_t{16} + 128 + kStage);
}

template <TileName kName, typename T, F32Math kMath, bool kBackwardData, bool kAligned, typename Epilogue>
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
         conv_kernel<kName, T, kMath, kBackwardData, kAligned, Epilogue>,
         dim3(static_cast<unsigned>(tiles), 1, static_cast<unsigned>(g.groups * g.classes())),
         dim3(kTile.threads()), conv_launch_bytes<kName, T>(g), stream, g, src, weight, epilogue);
}

/// conv_forward and conv_backward_data of one element type; conv_TYPE.cu instantiates it.
template <typename T, F32Math kMath, bool kBackwardData, typename Epilogue>
void launch_conv(const ConvProblem& problem, const T* src, const T* weight, const Epilogue& epilogue,
                 Stream stream) {
  const ConvGeometry g = conv_geometry(problem, kBackwardData);
  const TileName tile = conv_tile(problem, kBackwardData);
  if constexpr (sizeof(T) == 4) {
    if (tile == TileName::kConvF32)
      return launch_conv_tile<TileName::kConvF32, T, kMath, kBackwardData, true>(g, src, weight, epilogue,
                                                                                 stream);
    return launch_conv_tile<TileName::kConvF32Packed, T, kMath, kBackwardData, false>(g, src, weight,
                                                                                      epilogue, stream);
  } else {
    if (tile == TileName::kConvWide)
      return launch_conv_tile<TileName::kConvWide, T, kMath, kBackwardData, true>(g, src, weight, epilogue,
                                                                                  stream);
    if (tile == TileName::kConvMedium)
      return launch_conv_tile<TileName::kConvMedium, T, kMath, kBackwardData, true>(g, src, weight, epilogue,
                                                                                    stream);
    if (tile == TileName::kConvNarrow)
      return launch_conv_tile<TileName::kConvNarrow, T, kMath, kBackwardData, true>(g, src, weight, epilogue,
                                                                                    stream);
    if (tile == TileName::kConvSlim)
      return launch_conv_tile<TileName::kConvSlim, T, kMath, kBackwardData, true>(g, src, weight, epilogue,
                                                                                  stream);
    return launch_conv_tile<TileName::kConvPacked, T, kMath, kBackwardData, false>(g, src, weight, epilogue,
                                                                                   stream);
  }
}

}  // namespace residuum::kernels
