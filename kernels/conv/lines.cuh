// Convolution forward of few channels (a stem: 7x7 taps of 3 channels). Source lines reach shared memory in
// whole 16-byte chunks, each line once for a block, which handles a run of tiles of output pixels; there they
// stand between zeros, so what a kernel line sees of one for an output pixel, a window, is contiguous
// whatever of it is padding. Lanes read their factors out of the windows word by word. The sum runs over
// pairs of kernel lines, whose windows are padded to groups of eight elements: what lies beyond a window is
// masked, as zero weights alone would make NaN of infinities there. All weights stay in shared memory. One
// barrier a tile is all that the warps wait for: lines of the next tile arrive, and results leave
// (conv/epilogue.cuh), while others multiply.
#pragma once

#include "kernels/conv/epilogue.cuh"
#include "kernels/conv/product.cuh"

namespace residuum::kernels {

/// The source lines of a block in shared memory (conv/lines_geometry.h), and where in them the windows of
/// each tile's kRows output pixels begin: tables of three tiles, as copies begin a tile ahead.
template <typename T, int kRows, int kThreads>
class LineRing {
 public:
  __device__ __forceinline__ LineRing(const ConvLines& lines, const void* src, unsigned char* tables,
                                      unsigned char* ring)
      : lines_(lines),
        src_(static_cast<const T*>(src)),
        tables_(reinterpret_cast<int*>(tables)),
        ring_(ring) {}

  /// Makes zeros of all lines.
  __device__ __forceinline__ void clear() const {
    for (int i = thread(); i < lines_.ring_bytes / kChunkBytes; i += kThreads) {
      reinterpret_cast<uint4*>(ring_)[i] = uint4{0, 0, 0, 0};
    }
  }
  /// Where the windows of row `row` begin, for the kernel's first line.
  __device__ __forceinline__ SharedAddress window(int tile, int row) const {
    return shared_address(ring_) + static_cast<SharedAddress>(tables_[tile % kLineTables * kRows + row]);
  }

  /// Fills the table of a tile whose first row is `first`; a barrier must follow. Rows beyond the last pixel
  /// are that pixel.
  __device__ __forceinline__ void fill(int tile, int first) const {
    const int row = thread();
    if (row >= kRows) return;
    const int pixel = min(first + row, lines_.pixels - 1);
    const auto [image, rest] = lines_.of_image.split(static_cast<uint32_t>(pixel));
    const auto [y, x] = lines_.of_line.split(rest);
    const int line = static_cast<int>(image) * lines_.image_lines + static_cast<int>(y) * lines_.stride;
    const int slot = static_cast<int>(lines_.of_slots.split(static_cast<uint32_t>(line)).remainder);
    tables_[tile % kLineTables * kRows + row] =
        (lines_.first + slot * lines_.pitch + lines_.window_of(static_cast<int>(x))) *
        static_cast<int>(sizeof(T));
    if (row == 0) span(tile).begin = line;
    if (row == kRows - 1) span(tile).end = line + lines_.kernel_h;
  }

  /// Starts to copy the lines of a tile that the tile before it has not. Its table is filled.
  __device__ __forceinline__ void load(int tile) const {
    visit(tile, [&](unsigned char* place, int64_t chunk, bool inside, int, int) {
      cp_async_16(shared_address(place), src_ + chunk * kChunk<T>, inside);
    });
  }
  /// Of the chunks that this thread has copied of a tile, which have arrived, makes zeros of what belongs to
  /// other lines.
  __device__ __forceinline__ void separate(int tile) const {
    if (lines_.line % kChunk<T> == 0) return;
    visit(tile, [&](unsigned char* place, int64_t, bool inside, int begin, int end) {
      if (!inside || (begin <= 0 && end >= kChunk<T>)) return;
      T* const elements = reinterpret_cast<T*>(place);
#pragma unroll
      for (int i = 0; i < kChunk<T>; ++i) {
        if (i < begin || i >= end) elements[i] = from_float<T>(0.0f);
      }
    });
  }

 private:
  struct Span {
    int begin, end;
  };
  static_assert(kLineTables * sizeof(Span) <= kLineScalarBytes && kRows <= kThreads);

  __device__ __forceinline__ static int thread() {
    return static_cast<int>(threadIdx.x % kThreads);
  }
  /// The lines that a tile's taps touch.
  __device__ __forceinline__ Span& span(int tile) const {
    return reinterpret_cast<Span*>(tables_ + kLineTables * kRows)[tile % kLineTables];
  }

  /// visit(place, chunk of the source, whether it is in the image, first element of the chunk that is its
  /// line's, and where these end) for each chunk of a tile's new lines that this thread copies.
  template <typename Visit>
  __device__ __forceinline__ void visit(int tile, const Visit& visit) const {
    const int end = span(tile).end;
    const int begin = tile == 0 ? span(tile).begin : max(span(tile).begin, span(tile - 1).end);
#pragma unroll 1
    for (int i = thread(); i < (end - begin) * lines_.chunks; i += kThreads) {
      const auto [line, number] = lines_.of_chunks.split(static_cast<uint32_t>(i));
      const auto [image, y] = lines_.of_image_lines.split(static_cast<uint32_t>(begin) + line);
      const int slot = static_cast<int>(lines_.of_slots.split(static_cast<uint32_t>(begin) + line).remainder);
      const int start = lines_.first + slot * lines_.pitch + lines_.lead, phase = start % kChunk<T>;
      const int chunk = static_cast<int>(number), before = chunk * kChunk<T> - phase;
      if (before >= lines_.used) continue;
      const int h = static_cast<int>(y) - lines_.pad;
      const bool inside = static_cast<unsigned>(h) < static_cast<unsigned>(lines_.src_h) &&
                          static_cast<int>(y) < lines_.touched_lines;
      const int64_t first = (static_cast<int64_t>(image) * lines_.src_h + h) * lines_.line - phase;
      unsigned char* const place = ring_ + (start - phase + chunk * kChunk<T>)*static_cast<int>(sizeof(T));
      visit(place, (first >> 3) + chunk, inside, -before, lines_.line - before);
      if (slot >= lines_.kernel_h - 1) continue;
      const int again = lines_.slots * lines_.pitch * static_cast<int>(sizeof(T));
      visit(place + again, (first >> 3) + chunk, inside, -before, lines_.line - before);
    }
  }
  static_assert(kChunk<T> == 1 << 3);

  const ConvLines& lines_;
  const T* const src_;
  int* const tables_;
  unsigned char* const ring_;
};

/// One block's work. kGroups, kShifted: those of the lines.
template <typename T, F32Math kMath, int kGroups, bool kShifted, Product kProduct>
class ConvLinesBlock {
 public:
  __device__ __forceinline__ ConvLinesBlock(const ConvGeometry& g, const ConvLines& lines, const void* src,
                                            const T* weight, const ConvResult& result, unsigned char* shared)
      : g_(g),
        lines_(lines),
        weight_(weight),
        weights_(aligned(shared + kTableBytes)),
        ring_(lines, src, shared, weights_ + lines.weight_bytes()),
        epilogue_(g, result, 0, shared + conv_lines_bytes(lines)),
        first_mask_(mask_of(-lines.skew)),
        last_mask_(mask_of((kGroups - 1) * kChunk<T> - lines.skew)) {}

  __device__ __forceinline__ void run() {
    const int tiles = min(g_.run, (lines_.pixels - first_row(0) + kTile.rows - 1) / kTile.rows);
    const Pixels pixels{lines_.pixels};
    ring_.clear();
    ring_.fill(0, first_row(0));
    ring_.fill(1, first_row(1));
    load_weights();
    epilogue_.stage();
    if constexpr (kProduct == Product::kWarpgroup) fence_shared_for_wgmma();
    __syncthreads();
    ring_.load(0);
    cp_async_commit();
    for (int tile = 0; tile < tiles; ++tile) {
      cp_async_wait<0>();
      ring_.separate(tile);
      __syncthreads();
      if (tile + 1 < tiles) ring_.load(tile + 1);
      cp_async_commit();
      ring_.fill(tile + 2, first_row(tile + 2));
      epilogue_.prefetch(pixels, first_row(tile));
      multiply(tile);
      epilogue_.store(sums_, pixels, first_row(tile), tile);
    }
    cp_async_wait<0>();
    if (!epilogue_.has_sums()) return;
    epilogue_.finish_sums(weights_, pixels,
                          {static_cast<int>(blockIdx.y), static_cast<int>(gridDim.y), column_tile()});
  }

 private:
  static constexpr Tile kTile = arranged(tile_of(TileName::kConvLines), kProduct);
  static constexpr int kThreads = kTile.threads();
  static constexpr int kRowFragments = kTile.warp_rows() / 16, kColumnFragments = kTile.warp_columns() / 8;
  static constexpr int kTableBytes =
      kLineTables * kTile.rows * static_cast<int>(sizeof(int)) + kLineScalarBytes;
  /// Bytes of a row of weights, an output channel, of a pair of kernel lines; of those, 2 kGroups chunks are
  /// multiplied.
  static constexpr int kRowBytes = ConvLines::row_bytes(kGroups), kPairBytes = kTile.columns * kRowBytes;
  static constexpr int kRowChunks = kRowBytes / kChunkBytes;
  static_assert(2 * kGroups <= kRowChunks && kGroups <= kMostLineGroups && kTile.columns == 64);
  using LeftFactor = Factor<T, kMath, 4>;
  using WeightFactor = std::conditional_t<kProduct == Product::kWarpgroup,
                                          WarpgroupFactor<T, kMath, false, kRowBytes, kTile.depth>,
                                          DeepFactor<T, kMath, kRowChunks>>;
  struct Results {
    static constexpr Tile kTile = ConvLinesBlock::kTile;
    static constexpr bool kPermuted = true, kBackward = false, kWhole = true, kPlainPath = true;
    static constexpr int kRegisterSums = register_sums(kTile, false, Patch::kGather);
    __device__ __forceinline__ static int first_column() { return column_tile() * kTile.columns; }
  };
  /// Rows of the product are output pixels as they lie in memory.
  struct Pixels {
    int count;
    __device__ __forceinline__ int all() const { return count; }
    __device__ __forceinline__ int dst(int row) const { return row; }
  };
  /// Windows of a lane's rows in one source line.
  using Windows = SharedAddress[kRowFragments][2];

  // Blocks: column tiles are neighbours, then the runs of rows.
  __device__ __forceinline__ static int column_tile() { return static_cast<int>(blockIdx.x); }
  __device__ __forceinline__ int first_row(int tile) const {
    return (static_cast<int>(blockIdx.y) * g_.run + tile) * kTile.rows;
  }
  __device__ __forceinline__ static int thread() { return static_cast<int>(threadIdx.x % kThreads); }
  __device__ __forceinline__ static int lane() { return thread() % 32; }
  __device__ __forceinline__ static int warp_row() {
    return thread() / 32 / kTile.warps_n * kTile.warp_rows();
  }
  __device__ __forceinline__ static int warp_column() {
    return thread() / 32 % kTile.warps_n * kTile.warp_columns();
  }
  __device__ __forceinline__ static unsigned char* aligned(unsigned char* memory) {
    if constexpr (kProduct == Product::kWarpgroup) return aligned_for_wgmma(memory);
    return memory;
  }

  /// All weights of the block's columns, in the order of the windows; zeros where there are none.
  __device__ __forceinline__ void load_weights() const {
    const int chunks = lines_.pairs() * kTile.columns * 2 * kGroups;
#pragma unroll 1
    for (int i = thread(); i < chunks; i += kThreads) {
      const int group = i % (2 * kGroups), column = i / (2 * kGroups) % kTile.columns;
      const int pair = i / (2 * kGroups * kTile.columns), line = 2 * pair + group / kGroups;
      const int channel = Results::first_column() + channel_of_column(column);
      const int element = group % kGroups * kChunk<T> - lines_.skew;
      const bool exists = channel < g_.columns && line < lines_.kernel_h;
      const T* const from = weight_ + channel * g_.weight_pitch + line * lines_.window + element;
      store_partial_chunk(weights_ + pair * kPairBytes + chunk_offset<kRowChunks>(column, group), from,
                          max(0, -element), exists ? lines_.window - element : 0);
    }
  }

  /// Of a word of a group, which begins `first` elements behind a window's first one, that which is of the
  /// window.
  __device__ __forceinline__ uint32_t mask_of(int first) const {
    const int element = first + lane() % kQuad * 2;
    const auto half = [&](int e) {
      return static_cast<unsigned>(e) < static_cast<unsigned>(lines_.window) ? 0xFFFFu : 0u;
    };
    return computed_here(half(element) | half(element + 1) << 16);
  }
  /// Two elements of a window; shifted, it may begin in the middle of a word.
  __device__ __forceinline__ static uint32_t word_at(SharedAddress address, int offset) {
    if constexpr (kShifted) {
      const SharedAddress whole = (address & ~SharedAddress{3}) + static_cast<SharedAddress>(offset);
      const uint64_t low = load_shared_32(whole), high = load_shared_32(whole + 4);
      return static_cast<uint32_t>((high << 32 | low) >> (address & 2) * 8);
    } else {
      return load_shared_32(address + static_cast<SharedAddress>(offset));
    }
  }

  /// sums_ = the product of a tile.
  __device__ __forceinline__ void multiply(int tile) {
    clear(sums_);
    Windows windows;
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = warp_row() + 16 * f + 8 * h + lane() / kQuad;
        windows[f][h] = ring_.window(tile, row) + static_cast<SharedAddress>(lane() % kQuad * 4);
      }
    }
    SharedAddress weights = shared_address(weights_);
#pragma unroll 1
    for (int pair = 0; pair < lines_.kernel_h / 2; ++pair) {
      multiply_lines<2>(windows, weights);
      weights += kPairBytes;
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) {
#pragma unroll
        for (int h = 0; h < 2; ++h) windows[f][h] += 2 * line_bytes();
      }
    }
    if (lines_.kernel_h % 2 != 0) multiply_lines<1>(windows, weights);
  }
  __device__ __forceinline__ SharedAddress line_bytes() const {
    return static_cast<SharedAddress>(lines_.pitch * static_cast<int>(sizeof(T)));
  }
  /// Adds the products of kLines kernel lines, whose first sees `windows`.
  template <int kLines>
  __device__ __forceinline__ void multiply_lines(const Windows& windows, SharedAddress weights) {
    constexpr int kSteps = (kLines * kGroups * kChunk<T> + LeftFactor::kDepth - 1) / LeftFactor::kDepth;
    const WeightFactor right(weights, warp_column(), lane());
    const auto left = [&](auto& a, int step, int f) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int group = 2 * step + i / 2, of_line = group % kGroups;
        a.words[i] = 0;
        if (group >= kLines * kGroups) continue;
        const SharedAddress window = windows[f][i % 2] + (group < kGroups ? 0 : line_bytes());
        a.words[i] = word_at(window, of_line * kChunkBytes);
        if (of_line == 0) a.words[i] &= first_mask_;
        if (of_line == kGroups - 1) a.words[i] &= last_mask_;
      }
    };
    if constexpr (kProduct == Product::kWarpgroup) {
      StepFactors<T, kMath, kSteps, kRowFragments> factors;
      start_products(sums_, factors, right, left);
      finish_products(sums_, factors);
    } else {
      multiply_steps<kSteps>(sums_, right, left);
    }
  }

  const ConvGeometry& g_;
  const ConvLines& lines_;
  const T* const weight_;
  unsigned char* const weights_;
  LineRing<T, kTile.rows, kThreads> ring_;
  ConvEpilogue<T, Results> epilogue_;
  uint32_t first_mask_, last_mask_;  ///< of the lane's words of a window's first and last group
  float sums_[kRowFragments][kColumnFragments][4];
};

template <TileName kName, typename T, F32Math kMath, int kGroups, bool kShifted, Product kProduct>
__global__ void __launch_bounds__(tile_of(kName).threads(), tile_of(kName).blocks)
    conv_lines_kernel(const ConvGeometry g, const ConvLines lines, const void* src, const T* weight,
                      const ConvResult result) {
  if constexpr (compiles_here<T>(kName, kProduct)) {
    grid_dependency_wait();
    grid_dependency_trigger();
    DYNAMIC_SHARED(shared);
    ConvLinesBlock<T, kMath, kGroups, kShifted, kProduct>(g, lines, src, weight, result, shared).run();
  }
}

}  // namespace residuum::kernels
