// Convolution backward-filter as a matrix product on tensor cores: rows are output channels, columns the
// elements (r, s, c) of a kernel, the sum runs over output pixels. The pixels are cut into pieces that blocks
// sum independently; their partial sums are joined by the tree of sum_tree.h in the same launch, so the bits
// are the same in every run. Columns keep their place in the kernel from step to step, so a thread works out
// (r, s, c) once. With kForms either operand may be formed of other tensors: as chunks it is formed in shared
// memory, by the thread that copied it; padding and absent pixels stay zero. And the rows may be summed too,
// as they are multiplied: each thread adds up the chunks that it copied.
#pragma once

#include <algorithm>
#include <array>

#include "kernels/conv_backward_filter/lines.cuh"
#include "kernels/conv_backward_filter/taps.cuh"

namespace residuum::kernels {

template <TileName kName, typename T, F32Math kMath, bool kAligned, bool kForms, Product kProduct>
class FilterBlock {
 public:
  __device__ __forceinline__ FilterBlock(const FilterGeometry& g, const FilterArrays& arrays,
                                         unsigned char* shared)
      : g_(g),
        arrays_(arrays),
        part_{static_cast<int>(blockIdx.z) / g.pieces, static_cast<int>(blockIdx.y) * kTile.rows,
              static_cast<int>(blockIdx.z) % g.pieces},
        shared_(kProduct == Product::kWarpgroup ? aligned_for_wgmma(shared) : shared),
        column_table_(reinterpret_cast<float*>(shared_ + kTile.stages * kStageBytes + Rows::kTableBytes)),
        rows_(g, arrays, part_, shared_ + kTile.stages * kStageBytes,
              shared_ + kTile.stages * kStageBytes + kTableBytes) {
    first_column_ = static_cast<int>(blockIdx.x) * kTile.columns;
    src_ = static_cast<const T*>(arrays.src.a) + part_.group * g.depth_c;
  }

  __device__ __forceinline__ void run() {
    find_columns();
    sum();
    rows_.leave_sums();
    const auto row_of = [&](int f) { return part_.first_row + warp_row() + 16 * f + lane() / 4; };
    const auto column_of = [&](int q) { return first_column_ + warp_column() + 8 * q + lane() % 4 * 2; };
    const auto has_sums = [&](int f, int q) { return row_of(f) < g_.rows && column_of(q) < g_.columns; };
    if (!join_pieces<kThreads>(sums_, g_, arrays_, part_, has_sums)) return;
    store_sums(sums_, g_.rows, g_.columns,
               arrays_.d_weight + static_cast<int64_t>(part_.group) * g_.rows * g_.columns, row_of, column_of,
               [&](int column) { return column < g_.columns ? column : -1; });
    rows_.finish_sums(shared_);
  }

  /// Shared memory of a block, which sums its rows or not.
  static constexpr size_t shared_bytes(bool row_sums) {
    const size_t tables = kForms ? kTableBytes : 0;
    const size_t sums = row_sums ? Rows::kSumBytes : 0;
    const size_t alignment = kProduct == Product::kWarpgroup ? kFactorAlignment : 0;
    return static_cast<size_t>(kTile.stages * kStageBytes) + tables + sums + alignment;
  }

 private:
  static constexpr Tile kTile = arranged(tile_of(kName), kProduct);
  static constexpr int kThreads = kTile.threads();
  static constexpr int kRowChunks = kTile.rows / kChunk<T>, kColumnChunks = kTile.columns / kChunk<T>;
  static constexpr int kRowBytes = kTile.depth * kRowChunks * kChunkBytes;
  static constexpr int kColumnBytes = kTile.depth * kColumnChunks * kChunkBytes;
  /// Formed in shared memory: rows, whose tensor b lies behind the two tiles, and columns.
  static constexpr bool kRowChunksWhole = kAligned || kName == TileName::kFilterPackedColumns;
  static constexpr bool kFormsColumns = kForms && kAligned;
  using Rows = FilterRows<T, kTile.rows, kTile.depth, kThreads, kTile.stages, kRowBytes + kColumnBytes,
                          kRowChunksWhole, kForms>;
  static constexpr int kStageBytes = kRowBytes + kColumnBytes + (Rows::kFormsChunks ? kRowBytes : 0);
  static constexpr int kRowFragments = kTile.warp_rows() / 16, kColumnFragments = kTile.warp_columns() / 8;
  static constexpr int kAhead = kTile.stages - 1;
  /// Pixels that all threads copy at once; whole periods of the swizzle, so that a thread's chunk stays in
  /// place.
  static constexpr int kColumnPass = kThreads / kColumnChunks;
  /// Chunks of a step that a thread copies.
  static constexpr int kColumnPasses = kTile.depth / kColumnPass;
  static_assert(kColumnPasses * kColumnPass == kTile.depth);
  static_assert(kColumnPasses * (kAhead + 1) <= 32, "bits of inside_");
  static constexpr int kNoTap = -(1 << 20);
  static constexpr int kColumnsOfThread = kAligned ? 1 : kChunk<T>;
  using FactorA = Factor<T, kMath, 4>;
  /// Warpgroups want columns in panels of 64.
  static constexpr int kPanelChunks = kProduct == Product::kWarpgroup ? kWarpgroupPanel<T> : kColumnChunks;
  using ColumnFactor =
      std::conditional_t<kProduct == Product::kWarpgroup, WarpgroupFactor<T, kMath, true, 128, kTile.depth>,
                         FlatFactor<T, kMath, kColumnChunks>>;
  using ColumnTable = FormTable<T, 2, kTile.columns>;
  static constexpr size_t kTableBytes = Rows::kTableBytes + sizeof(float) * ColumnTable::kFloats;

  __device__ __forceinline__ static int thread() { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ static int lane() { return thread() % 32; }
  __device__ __forceinline__ static int warp() { return thread() / 32; }
  __device__ __forceinline__ static int warp_row() { return warp() / kTile.warps_n * kTile.warp_rows(); }
  __device__ __forceinline__ static int warp_column() {
    return warp() % kTile.warps_n * kTile.warp_columns();
  }

  /// Kernel element of each column (aligned: of the first of a chunk) this thread copies: distance of its tap
  /// from the pixel, and its channel; columns beyond the last are never inside the image.
  __device__ __forceinline__ void find_columns() {
#pragma unroll
    for (int i = 0; i < kColumnsOfThread; ++i) {
      const int column = first_column_ + thread() % kColumnChunks * kChunk<T> + i;
      const int tap = column / g_.depth_c;
      const bool exists = column < g_.columns;
      tap_h_[i] = exists ? tap / g_.kernel_w - g_.pad : kNoTap;
      tap_w_[i] = tap % g_.kernel_w - g_.pad;
      channel_[i] = column % g_.depth_c;
      if constexpr (!kAligned) offset_[i] = (tap_h_[i] * g_.src_w + tap_w_[i]) * g_.src_c + channel_[i];
    }
  }

  __device__ __forceinline__ bool forms_src() const {
    return kForms && arrays_.src.form == Form::kApply;
  }

  /// Coefficients of this tile's rows and columns; 0 beyond the matrix.
  __device__ __forceinline__ void fill_tables() {
    rows_.fill_table();
    if (forms_src()) {
      for (int c = thread(); c < kTile.columns; c += kThreads) {
        float scale = 0, shift = 0;
        if (first_column_ + c < g_.columns) {
          affine_of(arrays_.src.vectors, part_.group * g_.depth_c + (first_column_ + c) % g_.depth_c, scale,
                    shift);
        }
        column_table_.at(0, c) = scale;
        column_table_.at(1, c) = shift;
      }
    }
    __syncthreads();
  }

  __device__ __forceinline__ int first_pixel(int step) const {
    return (part_.piece * g_.steps_per_piece + step) * kTile.depth;
  }

  /// The places of this thread's chunks in the first step.
  __device__ __forceinline__ void start_walks() {
    rows_.start(first_pixel(0) + Rows::first_pixel());
    if constexpr (kAligned) {
      walk_ =
          TapWalk(g_, first_pixel(0) + thread() / kColumnChunks, tap_h_[0], tap_w_[0], tap_h_[0] > kNoTap);
    }
  }

  /// Copies the next step.
  __device__ __forceinline__ void load(int slot) {
    unsigned char* const stage = shared_ + slot * kStageBytes;
    rows_.load(stage);
    if constexpr (kAligned) load_src(stage + kRowBytes);
  }

  /// Byte offset of a chunk in the tile of columns.
  __device__ __forceinline__ static int column_offset(int pixel, int chunk) {
    return chunk / kPanelChunks * (kTile.depth * kPanelChunks * kChunkBytes) +
           chunk_offset<kPanelChunks>(pixel, chunk % kPanelChunks);
  }
  __device__ __forceinline__ void load_src(unsigned char* tile) {
    unsigned char* const to = tile + column_offset(thread() / kColumnChunks, thread() % kColumnChunks);
    const T* const channel = src_ + channel_[0];
#pragma unroll
    for (int pass = 0; pass < kColumnPasses; ++pass) {
      const bool inside = walk_.inside(g_);
      cp_async_16(shared_address(to + pass * kColumnPass * kPanelChunks * kChunkBytes),
                  pixel_of(channel, walk_.pixel(), g_.src_pitch), inside);
      walk_.advance(g_);
      if constexpr (kFormsColumns) inside_ |= static_cast<unsigned>(inside) << pass;
    }
  }

  /// Where output pixel m has its tap at distance (0, 0).
  struct Position {
    int image, h, w;
  };
  __device__ __forceinline__ Position position_of(int m) const {
    const auto [image, pixel] = g_.image.split(static_cast<uint32_t>(m));
    const auto [y, x] = g_.line.split(pixel);
    return {static_cast<int>(image), static_cast<int>(y) * g_.stride, static_cast<int>(x) * g_.stride};
  }

  /// Columns that are no whole chunks pass through registers: fetched for a step before another one is
  /// multiplied, and put into shared memory after that.
  using Fetched = ChunkOf<T>[kColumnPasses];
  __device__ __forceinline__ void fetch_columns(int step, Fetched& fetched) const {
    const int first = first_pixel(step) + thread() / kColumnChunks;
#pragma unroll
    for (int pass = 0; pass < kColumnPasses; ++pass) fetch_pixel(first + pass * kColumnPass, fetched[pass]);
  }
  __device__ __forceinline__ void put_columns(int slot, const Fetched& fetched) const {
    unsigned char* const to = shared_ + slot * kStageBytes + kRowBytes +
                              column_offset(thread() / kColumnChunks, thread() % kColumnChunks);
#pragma unroll
    for (int pass = 0; pass < kColumnPasses; ++pass) {
      *reinterpret_cast<ChunkOf<T>*>(to + pass * kColumnPass * kPanelChunks * kChunkBytes) = fetched[pass];
    }
  }
  __device__ __forceinline__ void fetch_pixel(int m, ChunkOf<T>& chunk) const {
    const Position at = position_of(m);
    const bool exists = m < g_.pixels;
    const T* const pixel =
        src_ + (static_cast<int64_t>(at.image * g_.src_h + at.h) * g_.src_w + at.w) * g_.src_c;
    // All columns exist and all taps are inside of the image, as nearly everywhere: no more questions.
    constexpr int kLast = kColumnsOfThread - 1;
    const bool inner = exists && at.h + tap_h_[0] >= 0 && tap_h_[kLast] > kNoTap &&
                       at.h + tap_h_[kLast] < g_.src_h && at.w >= g_.pad &&
                       at.w + g_.kernel_w - g_.pad <= g_.src_w;
    if (inner) {
#pragma unroll
      for (int i = 0; i < kChunk<T>; ++i) chunk.at[i] = pixel[offset_[i]];
    } else {
#pragma unroll
      for (int i = 0; i < kChunk<T>; ++i) {
        int unused = 0;
        const bool inside = exists && find_pixel(at.image, at.h + tap_h_[i], at.w + tap_w_[i], unused);
        chunk.at[i] = inside ? pixel[offset_[i]] : from_float<T>(0.0f);
      }
    }
    if (forms_src()) form_elements(at, exists, chunk);
  }
  __device__ __forceinline__ void form_elements(const Position& at, bool exists, ChunkOf<T>& chunk) const {
    const int column = thread() % kColumnChunks * kChunk<T>;
#pragma unroll
    for (int i = 0; i < kChunk<T>; ++i) {
      int unused = 0;
      if (!exists || !find_pixel(at.image, at.h + tap_h_[i], at.w + tap_w_[i], unused)) continue;
      chunk.at[i] = from_float<T>(form_apply(to_float(chunk.at[i]), column_table_.at(0, column + i),
                                             column_table_.at(1, column + i), arrays_.src.relu));
    }
  }

  __device__ __forceinline__ bool find_pixel(int image, int h, int w, int& pixel) const {
    pixel = (image * g_.src_h + h) * g_.src_w + w;
    return static_cast<unsigned>(h) < static_cast<unsigned>(g_.src_h) &&
           static_cast<unsigned>(w) < static_cast<unsigned>(g_.src_w);
  }

  __device__ __forceinline__ void form_src(unsigned char* tile, unsigned inside) {
    const int first = thread() / kColumnChunks, chunk = thread() % kColumnChunks;
    ChunkOf<T>* const own = reinterpret_cast<ChunkOf<T>*>(tile + column_offset(first, chunk));
    ChunkOf<T> x[kColumnPasses];
#pragma unroll
    for (int pass = 0; pass < kColumnPasses; ++pass) x[pass] = own[pass * kColumnPass * kPanelChunks];
    form_applied(x, arrays_.src.relu, column_table_, chunk);
#pragma unroll
    for (int pass = 0; pass < kColumnPasses; ++pass) {
      if ((inside >> pass & 1) != 0) own[pass * kColumnPass * kPanelChunks] = x[pass];
    }
  }

  __device__ __forceinline__ void sum() {
    clear(sums_);
    rows_.clear_sums();
    if constexpr (kForms && !kAligned) fill_tables();
    const int steps = min(g_.steps_per_piece, g_.steps - part_.piece * g_.steps_per_piece);
    start_walks();
    for (int step = 0; step < kAhead; ++step) {
      load_ahead(step, steps, step);
      if constexpr (!kAligned) {
        Fetched fetched;
        fetch_columns(step, fetched);
        put_columns(step, fetched);
      }
    }
    if constexpr (kForms && kAligned) fill_tables();
    prepare(0);
    int slot = 0, ahead_slot = kAhead;
    for (int step = 0; step < steps; ++step) {
      const int next_slot = slot + 1 == kTile.stages ? 0 : slot + 1;
      __syncthreads();
      if constexpr (kProduct == Product::kWarpgroup) {
        StepFactors<T, kMath, kTile.depth / FactorA::kDepth, kRowFragments> left;
        start_multiply(slot, left);
        load_ahead(step + kAhead, steps, ahead_slot);
        if (step + 1 < steps) prepare(next_slot);
        finish_products(sums_, left);
      } else {
        load_ahead(step + kAhead, steps, ahead_slot);
        multiply(step + kAhead, slot, ahead_slot);
        if (step + 1 < steps) prepare(next_slot);
      }
      ahead_slot = slot;
      slot = next_slot;
    }
    cp_async_wait<0>();
  }

  /// Starts the copies of a step, if it is one of them.
  __device__ __forceinline__ void load_ahead(int step, int steps, int slot) {
    rows_.begin_step();
    if constexpr (kFormsColumns) inside_ <<= kColumnPasses;
    if (step < steps) load(slot);
    cp_async_commit();
  }
  /// Makes the operands of a step, kAhead - 1 before the one copied last, of what this thread copied.
  __device__ __forceinline__ void prepare(int slot) {
    cp_async_wait<kAhead - 1>();
    unsigned char* const stage = shared_ + slot * kStageBytes;
    if constexpr (Rows::kFormsChunks) rows_.form(stage);
    if constexpr (kFormsColumns) {
      if (forms_src()) form_src(stage + kRowBytes, inside_ >> (kAhead - 1) * kColumnPasses);
    }
    rows_.add(stage);
    if constexpr (kProduct == Product::kWarpgroup) fence_shared_for_wgmma();
  }

  template <typename Left>
  __device__ __forceinline__ void start_multiply(int slot, Left& left) {
    const SharedAddress tile = shared_address(shared_ + slot * kStageBytes);
    const FlatLane<T, kRowChunks, true> rows(tile, warp_row(), lane());
    const ColumnFactor columns(tile + kRowBytes, warp_column(), lane());
    start_products(sums_, left, columns, [&](auto& a, int step, int f) { load_flat_rows(a, rows, step, f); });
  }
  /// Multiplies a step; columns that are no chunks of step `ahead` are under way meanwhile.
  __device__ __forceinline__ void multiply(int ahead, int slot, int ahead_slot) {
    if constexpr (kAligned) {
      multiply(slot);
    } else {
      Fetched fetched;
      fetch_columns(ahead, fetched);
      multiply(slot);
      put_columns(ahead_slot, fetched);
    }
  }
  __device__ __forceinline__ void multiply(int slot) {
    const SharedAddress tile = shared_address(shared_ + slot * kStageBytes);
    const FlatLane<T, kRowChunks, true> rows(tile, warp_row(), lane());
    const ColumnFactor columns(tile + kRowBytes, warp_column(), lane());
    multiply_steps<kTile.depth / FactorA::kDepth>(
        sums_, columns, [&](auto& a, int step, int f) { load_flat_rows(a, rows, step, f); });
  }

  const FilterGeometry& g_;
  const FilterArrays& arrays_;
  const T* src_;
  FilterPart part_;
  unsigned char* shared_;
  ColumnTable column_table_;
  Rows rows_;
  int first_column_;
  int tap_h_[kColumnsOfThread], tap_w_[kColumnsOfThread], channel_[kColumnsOfThread];
  int offset_[kColumnsOfThread];  ///< of the element from the pixel's first channel; not of chunks
  TapWalk walk_;                  ///< of the next chunk of columns
  /// Which of this thread's chunks of src are pixels and not padding: kColumnPasses bits a step, the step
  /// copied last in the lowest.
  unsigned inside_ = 0;
  float sums_[kRowFragments][kColumnFragments][4];
};

template <TileName kName, typename T, F32Math kMath, bool kAligned, bool kForms, Product kProduct>
struct FilterBlockChoice {
  using Block = FilterBlock<kName, T, kMath, kAligned, kForms, kProduct>;
};
template <typename T, F32Math kMath, bool kForms>
struct FilterBlockChoice<TileName::kFilterLines, T, kMath, false, kForms, Product::kWarp> {
  using Block = FilterLinesBlock<T, kMath, kForms>;
};
template <TileName kName, typename T, F32Math kMath, bool kForms>
requires(has_all_taps(kName)) struct FilterBlockChoice<kName, T, kMath, true, kForms, Product::kWarp> {
  using Block = FilterTapsBlock<kName, T, kMath, kForms>;
};
template <TileName kName, typename T, F32Math kMath, bool kAligned, bool kForms, Product kProduct>
using FilterBlockOf = typename FilterBlockChoice<kName, T, kMath, kAligned, kForms, kProduct>::Block;

template <TileName kName, typename T, F32Math kMath, bool kAligned, bool kForms, Product kProduct>
__global__ void __launch_bounds__(tile_of(kName).threads(), tile_of(kName).blocks)
    conv_backward_filter_kernel(const FilterGeometry g,
                                const FilterArraysOf<most_filter_layers(kName)> arrays) {
  if constexpr (compiles_here<T>(kName, kProduct)) {
    grid_dependency_wait();
    grid_dependency_trigger();
    DYNAMIC_SHARED(shared);
    const int layer = most_filter_layers(kName) == 1 ? 0 : static_cast<int>(blockIdx.z) / g.pieces;
    FilterBlockOf<kName, T, kMath, kAligned, kForms, kProduct>(g, arrays.at[layer], shared).run();
  }
}

template <TileName kName, typename T, F32Math kMath, bool kAligned>
void launch_filter_tile(const ConvProblem& problem, std::span<const FilterArrays> layers, Stream stream) {
  constexpr Tile kTile = tile_of(kName);
  FilterArraysOf<most_filter_layers(kName)> arrays;
  std::copy(layers.begin(), layers.end(), arrays.at);
  const FilterGeometry g(problem, kTile);
  const dim3 grid(static_cast<unsigned>(ceil_div(g.columns, kTile.columns)),
                  static_cast<unsigned>(ceil_div(g.rows, kTile.rows)),
                  static_cast<unsigned>(problem.layers * problem.shape.groups * g.pieces));
  const FilterArrays& first = layers.front();
  const bool row_sums = first.d_bias != nullptr;
  const bool forms = row_sums || first.d_dst.form != Form::kStored || first.src.form != Form::kStored;
  with_flag(forms, [&](auto flag) {
    with_product<T, kName>([&](auto product) {
      using Block = FilterBlockOf<kName, T, kMath, kAligned, flag.value, product.value>;
      static_assert(Block::shared_bytes(true) <= (kTile.blocks > 1 ? kSharedBytes : kLoneSharedBytes));
      launch("conv_backward_filter",
             conv_backward_filter_kernel<kName, T, kMath, kAligned, flag.value, product.value>, grid,
             dim3(kTile.threads()), Block::shared_bytes(row_sums), stream, g, arrays);
    });
  });
}

/// conv_backward_filter of one element type; conv_TYPE.cu instantiates it.
template <typename T, F32Math kMath>
void launch_filter(const ConvProblem& problem, std::span<const FilterLayer> layers, void* workspace,
                   unsigned* counters, Stream stream) {
  float* const partial = static_cast<float*>(workspace);
  float* const bias_partial = partial + filter_partial_floats(problem);
  const int64_t floats = filter_partial_floats(problem) / problem.layers;
  const int of_layer = conv_backward_filter_counters(problem) / problem.layers;
  std::array<FilterArrays, most_filter_layers(TileName::kFilterTaps)> memory;
  const std::span<const FilterArrays> arrays(memory.data(), layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto before = static_cast<int64_t>(i);
    memory[i] = {layers[i], reinterpret_cast<float4*>(partial + before * floats), bias_partial,
                 counters + before * of_layer};
  }
  if constexpr (sizeof(T) == 4) {
    with_flag(is_aligned(problem), [&](auto aligned) {
      launch_filter_tile<TileName::kFilterF32, T, kMath, aligned.value>(problem, arrays, stream);
    });
  } else {
    const TileName tile = filter_tile(problem);
    if (tile == TileName::kFilterWide)
      return launch_filter_tile<TileName::kFilterWide, T, kMath, true>(problem, arrays, stream);
    if (tile == TileName::kFilterSquare)
      return launch_filter_tile<TileName::kFilterSquare, T, kMath, true>(problem, arrays, stream);
    if (tile == TileName::kFilterSlim)
      return launch_filter_tile<TileName::kFilterSlim, T, kMath, true>(problem, arrays, stream);
    if (tile == TileName::kFilterBroad)
      return launch_filter_tile<TileName::kFilterBroad, T, kMath, true>(problem, arrays, stream);
    if (tile == TileName::kFilterTaps)
      return launch_filter_tile<TileName::kFilterTaps, T, kMath, true>(problem, arrays, stream);
    if (tile == TileName::kFilterTapsBroad)
      return launch_filter_tile<TileName::kFilterTapsBroad, T, kMath, true>(problem, arrays, stream);
    if (tile == TileName::kFilterTapsSlim)
      return launch_filter_tile<TileName::kFilterTapsSlim, T, kMath, true>(problem, arrays, stream);
    if (tile == TileName::kFilterTapsStrided)
      return launch_filter_tile<TileName::kFilterTapsStrided, T, kMath, true>(problem, arrays, stream);
    if (tile == TileName::kFilterPackedColumns)
      return launch_filter_tile<TileName::kFilterPackedColumns, T, kMath, false>(problem, arrays, stream);
    if (tile == TileName::kFilterLines)
      return launch_filter_tile<TileName::kFilterLines, T, kMath, false>(problem, arrays, stream);
    return launch_filter_tile<TileName::kFilterPacked, T, kMath, false>(problem, arrays, stream);
  }
}

}  // namespace residuum::kernels
