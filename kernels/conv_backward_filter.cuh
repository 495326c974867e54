// Convolution backward-filter as a matrix product on tensor cores: rows are output channels, columns the
// elements (r, s, c) of a kernel, the sum runs over output pixels. The pixels are cut into pieces that blocks
// sum independently; their partial sums are joined by the tree of sum_tree.h in the same launch, so the bits
// are the same in every run. Columns keep their place in the kernel from step to step, so a thread works out
// (r, s, c) once. With kForms either operand may be formed of other tensors: as chunks it is formed in shared
// memory, by the thread that copied it; padding and absent pixels stay zero. And the rows may be summed too,
// as they are multiplied: each thread adds up the chunks that it copied.
#pragma once

#include "kernels/conv_filter_forms.cuh"
#include "kernels/conv_filter_walk.cuh"
#include "kernels/device/product.cuh"
#include "kernels/device/sum_tree.cuh"

namespace residuum::kernels {

/// What conv_backward_filter works on, in device memory.
struct FilterArrays {
  ConvSource d_dst, src;
  float *d_weight = nullptr, *d_bias = nullptr;
  float4* partial = nullptr;
  float* bias_partial = nullptr;  ///< [piece][output channel]
  unsigned* counters = nullptr;
};

template <TileName kName, typename T, F32Math kMath, bool kAligned, bool kForms, Product kProduct>
class FilterBlock {
 public:
  __device__ __forceinline__ FilterBlock(const FilterGeometry& g, const FilterArrays& arrays,
                                         unsigned char* shared)
      : g_(g),
        arrays_(arrays),
        shared_(kProduct == Product::kWarpgroup ? aligned_for_wgmma(shared) : shared),
        row_table_(reinterpret_cast<float*>(shared_ + kTile.stages * kStageBytes)),
        column_table_(reinterpret_cast<float*>(shared_ + kTile.stages * kStageBytes) + RowTable::kFloats),
        row_sums_(reinterpret_cast<float4*>(shared_ + kTile.stages * kStageBytes + kTableBytes)) {
    first_column_ = static_cast<int>(blockIdx.x) * kTile.columns;
    first_row_ = static_cast<int>(blockIdx.y) * kTile.rows;
    piece_ = static_cast<int>(blockIdx.z) % g.pieces;
    group_ = static_cast<int>(blockIdx.z) / g.pieces;
    d_dst_ = static_cast<const T*>(arrays.d_dst.a) + group_ * g.rows;
    src_ = static_cast<const T*>(arrays.src.a) + group_ * g.depth_c;
  }

  __device__ __forceinline__ void run() {
    find_columns();
    sum();
    if (sums_rows()) leave_row_sums();
    if (!join()) return;
    store(arrays_.d_weight + static_cast<int64_t>(group_) * g_.rows * g_.columns);
    if (sums_rows()) finish_row_sums();
  }

  /// Shared memory of a block, which sums its rows or not.
  static constexpr size_t shared_bytes(bool row_sums) {
    const size_t tables = kForms ? kTableBytes : 0;
    const size_t sums = row_sums ? sizeof(float) * kThreads * kChunk<T> : 0;
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
  static constexpr bool kFormsRows = kForms && kRowChunksWhole, kFormsColumns = kForms && kAligned;
  static constexpr int kStageBytes = kRowBytes + kColumnBytes + (kFormsRows ? kRowBytes : 0);
  static constexpr int kRowFragments = kTile.warp_rows() / 16, kColumnFragments = kTile.warp_columns() / 8;
  static constexpr int kAhead = kTile.stages - 1;
  /// Rows that all threads copy at once; whole periods of the swizzle, so that a thread's chunk stays in
  /// place.
  static constexpr int kRowPass = kThreads / kRowChunks, kColumnPass = kThreads / kColumnChunks;
  /// Chunks of a step that a thread copies.
  static constexpr int kRowPasses = kTile.depth / kRowPass, kColumnPasses = kTile.depth / kColumnPass;
  static_assert(kRowPasses * kRowPass == kTile.depth && kColumnPasses * kColumnPass == kTile.depth);
  static_assert(kColumnPasses * (kAhead + 1) <= 32, "bits of inside_");
  static constexpr int kNoTap = -(1 << 20);
  static constexpr unsigned kFarBehind = 1u << 31;
  static constexpr int kColumnsOfThread = kAligned ? 1 : kChunk<T>;
  using FactorA = Factor<T, kMath, 4>;
  /// Warpgroups want columns in panels of 64.
  static constexpr int kPanelChunks = kProduct == Product::kWarpgroup ? kWarpgroupPanel<T> : kColumnChunks;
  using ColumnFactor =
      std::conditional_t<kProduct == Product::kWarpgroup, WarpgroupFactor<T, kMath, true, 128, kTile.depth>,
                         FlatFactor<T, kMath, kColumnChunks>>;
  using RowTable = FormTable<T, 3, kTile.rows>;
  using ColumnTable = FormTable<T, 2, kTile.columns>;
  static constexpr size_t kTableBytes = sizeof(float) * (RowTable::kFloats + ColumnTable::kFloats);

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

  __device__ __forceinline__ bool forms_d_dst() const {
    return kForms && arrays_.d_dst.form != Form::kStored;
  }
  __device__ __forceinline__ bool forms_gradient() const {
    return kForms && arrays_.d_dst.form == Form::kGradient;
  }
  __device__ __forceinline__ bool forms_src() const {
    return kForms && arrays_.src.form == Form::kApply;
  }

  /// Coefficients of this tile's rows and columns; 0 beyond the matrix.
  __device__ __forceinline__ void fill_tables() {
    if (forms_d_dst()) {
      for (int r = thread(); r < kTile.rows; r += kThreads) {
        float values[3] = {};
        const ConvSource& d = arrays_.d_dst;
        const int channel = group_ * g_.rows + first_row_ + r;
        if (first_row_ + r < g_.rows) {
          if (forms_gradient()) {
            gradient_coefficients(d.vectors, d.d_gamma, d.d_beta, g_.pixels, channel, values);
          } else {
            affine_of(d.vectors, channel, values[0], values[1]);
          }
        }
#pragma unroll
        for (int v = 0; v < 3; ++v) row_table_.at(v, r) = values[v];
      }
    }
    if (forms_src()) {
      for (int c = thread(); c < kTile.columns; c += kThreads) {
        float scale = 0, shift = 0;
        if (first_column_ + c < g_.columns) {
          affine_of(arrays_.src.vectors, group_ * g_.depth_c + (first_column_ + c) % g_.depth_c, scale,
                    shift);
        }
        column_table_.at(0, c) = scale;
        column_table_.at(1, c) = shift;
      }
    }
    __syncthreads();
  }

  __device__ __forceinline__ int first_pixel(int step) const {
    return (piece_ * g_.steps_per_piece + step) * kTile.depth;
  }

  /// The places of this thread's chunks in the first step.
  __device__ __forceinline__ void start_walks() {
    const int row = first_row_ + thread() % kRowChunks * kChunk<T>;
    const auto pixel = static_cast<unsigned>(first_pixel(0) + thread() / kRowChunks);
    d_dst_pixel_ = row < g_.rows ? pixel : pixel + kFarBehind;
    if constexpr (kAligned) {
      walk_ =
          TapWalk(g_, first_pixel(0) + thread() / kColumnChunks, tap_h_[0], tap_w_[0], tap_h_[0] > kNoTap);
    }
  }

  /// Copies the next step.
  __device__ __forceinline__ void load(int slot) {
    unsigned char* const stage = shared_ + slot * kStageBytes;
    load_d_dst(stage);
    if constexpr (kAligned) load_src(stage + kRowBytes);
  }

  __device__ __forceinline__ void load_d_dst(unsigned char* tile) {
    const int first = thread() / kRowChunks, chunk = thread() % kRowChunks;
    const int row = first_row_ + chunk * kChunk<T>;
    unsigned char* const to = tile + chunk_offset<kRowChunks>(first, chunk);
#pragma unroll
    for (int pass = 0; pass < kTile.depth; pass += kRowPass) {
      const bool exists = d_dst_pixel_ < static_cast<unsigned>(g_.pixels);
      unsigned char* const dst = to + pass * kRowChunks * kChunkBytes;
      if constexpr (kRowChunksWhole) {
        cp_async_16(shared_address(dst), pixel_of(d_dst_ + row, d_dst_pixel_, g_.dst_pitch), exists);
        if (forms_gradient()) {
          cp_async_16(shared_address(dst) + kRowBytes + kColumnBytes,
                      pixel_of(d_dst_b() + row, d_dst_pixel_, g_.dst_pitch), exists);
        }
      } else {
        const int64_t at = static_cast<int64_t>(d_dst_pixel_) * g_.dst_c + row;
        load_d_dst_elements(dst, at, chunk * kChunk<T>, exists ? g_.rows - row : 0);
      }
      d_dst_pixel_ += kRowPass;
    }
  }
  __device__ __forceinline__ const T* d_dst_b() const {
    return static_cast<const T*>(arrays_.d_dst.b) + group_ * g_.rows;
  }

  /// A chunk of d_dst whose first `count` elements exist; `column` is its first of the tile.
  __device__ __forceinline__ void load_d_dst_elements(unsigned char* to, int64_t at, int column, int count) {
    if (!forms_d_dst()) return store_partial_chunk(to, d_dst_ + at, 0, count);
    ChunkOf<T> values;
#pragma unroll
    for (int i = 0; i < kChunk<T>; ++i) {
      values.at[i] = from_float<T>(i < count ? formed_d_dst(at + i, column + i) : 0.0f);
    }
    *reinterpret_cast<ChunkOf<T>*>(to) = values;
  }

  /// Element `at` of d_dst, of row `row` of the tile.
  __device__ __forceinline__ float formed_d_dst(int64_t at, int row) const {
    const float value = to_float(d_dst_[at]), scale = row_table_.at(0, row), second = row_table_.at(1, row);
    return forms_gradient()
               ? form_gradient(value, to_float(d_dst_b()[at]), scale, second, row_table_.at(2, row))
               : form_apply(value, scale, second, arrays_.d_dst.relu);
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

  /// Forms the tiles of a step where this thread copied them; its copies have arrived.
  __device__ __forceinline__ void form(int step, int slot) {
    unsigned char* const stage = shared_ + slot * kStageBytes;
    if (forms_d_dst()) form_d_dst(stage, first_pixel(step));
    if constexpr (kFormsColumns) {
      if (forms_src()) form_src(stage + kRowBytes, inside_ >> (kAhead - 1) * kColumnPasses);
    }
  }
  __device__ __forceinline__ void form_d_dst(unsigned char* tile, int first_pixel) {
    const int first = thread() / kRowChunks, chunk = thread() % kRowChunks;
    ChunkOf<T>* const own = reinterpret_cast<ChunkOf<T>*>(tile + chunk_offset<kRowChunks>(first, chunk));
    const ChunkOf<T>* const own_b = own + (kRowBytes + kColumnBytes) / kChunkBytes;
    ChunkOf<T> dy[kRowPasses], x[kRowPasses];
#pragma unroll
    for (int pass = 0; pass < kRowPasses; ++pass) dy[pass] = own[pass * kRowPass * kRowChunks];
    if (forms_gradient()) {
#pragma unroll
      for (int pass = 0; pass < kRowPasses; ++pass) x[pass] = own_b[pass * kRowPass * kRowChunks];
      form_gradients(dy, x, row_table_, chunk);
    } else {
      form_applied(dy, arrays_.d_dst.relu, row_table_, chunk);
    }
#pragma unroll
    for (int pass = 0; pass < kRowPasses; ++pass) {
      if (first_pixel + first + pass * kRowPass < g_.pixels) own[pass * kRowPass * kRowChunks] = dy[pass];
    }
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

  /// Blocks of the first columns sum the rows for all of them.
  __device__ __forceinline__ bool sums_rows() const {
    return kForms && arrays_.d_bias != nullptr && blockIdx.x == 0;
  }
  /// Sums of a thread's channels: a float4 for each quad of a chunk, those of all threads side by side. They
  /// are in shared memory because registers are scarce.
  __device__ __forceinline__ float4& row_sum(int quad, int thread) const {
    return row_sums_[quad * kThreads + thread];
  }
  __device__ __forceinline__ void clear_row_sums() const {
#pragma unroll
    for (int quad = 0; quad < kChunk<T> / 4; ++quad) {
      row_sum(quad, thread()) = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
  }
  /// Adds this thread's chunks of rows of a step; absent pixels are zeros.
  __device__ __forceinline__ void add_row_sums(const unsigned char* tile) const {
    const ChunkOf<T>* const own = reinterpret_cast<const ChunkOf<T>*>(
        tile + chunk_offset<kRowChunks>(thread() / kRowChunks, thread() % kRowChunks));
#pragma unroll
    for (int quad = 0; quad < kChunk<T> / 4; ++quad) {
      float4 sum = row_sum(quad, thread());
#pragma unroll
      for (int pass = 0; pass < kRowPasses; ++pass) {
        const ChunkOf<T> chunk = own[pass * kRowPass * kRowChunks];
        float low[2], high[2];
        widen_two(chunk.at + 4 * quad, low);
        widen_two(chunk.at + 4 * quad + 2, high);
        sum.x += low[0], sum.y += low[1], sum.z += high[0], sum.w += high[1];
      }
      row_sum(quad, thread()) = sum;
    }
  }
  /// Leaves the sums of this block's piece for the block that finishes the tile.
  __device__ __forceinline__ void leave_row_sums() const {
    __syncthreads();
    const int row = thread();
    if (row >= kTile.rows || first_row_ + row >= g_.rows) return;
    const int chunk = row / kChunk<T>, element = row % kChunk<T>;
    double total = 0;
    for (int first = 0; first < kRowPass; ++first) {
      total += static_cast<double>(component(row_sum(element / 4, first * kRowChunks + chunk), element % 4));
    }
    arrays_.bias_partial[bias_partial(piece_, row)] = static_cast<float>(total);
  }
  __device__ __forceinline__ int64_t bias_partial(int piece, int row) const {
    return static_cast<int64_t>(piece) * g_.dst_c + group_ * g_.rows + first_row_ + row;
  }
  __device__ __forceinline__ void finish_row_sums() const {
    __syncthreads();
    const int rows = min(kTile.rows, g_.rows - first_row_);
    const double total = column_total<kThreads>(
        rows, g_.pieces, reinterpret_cast<double*>(shared_),
        [&](int piece, int row) { return arrays_.bias_partial[bias_partial(piece, row)]; });
    if (thread() < rows) arrays_.d_bias[group_ * g_.rows + first_row_ + thread()] = static_cast<float>(total);
  }

  __device__ __forceinline__ void sum() {
    clear(sums_);
    if (sums_rows()) clear_row_sums();
    if constexpr (kForms && !kAligned) fill_tables();
    const int all_steps = (g_.pixels + kTile.depth - 1) / kTile.depth;
    const int steps = min(g_.steps_per_piece, all_steps - piece_ * g_.steps_per_piece);
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
    prepare(0, 0);
    int slot = 0, ahead_slot = kAhead;
    for (int step = 0; step < steps; ++step) {
      const int next_slot = slot + 1 == kTile.stages ? 0 : slot + 1;
      __syncthreads();
      if constexpr (kProduct == Product::kWarpgroup) {
        LeftFactors<T, kMath, kTile.depth / FactorA::kDepth, kRowFragments> left;
        start_multiply(slot, left);
        load_ahead(step + kAhead, steps, ahead_slot);
        if (step + 1 < steps) prepare(step + 1, next_slot);
        wgmma_wait();
      } else {
        load_ahead(step + kAhead, steps, ahead_slot);
        multiply(step + kAhead, slot, ahead_slot);
        if (step + 1 < steps) prepare(step + 1, next_slot);
      }
      ahead_slot = slot;
      slot = next_slot;
    }
    cp_async_wait<0>();
  }

  /// Starts the copies of a step, if it is one of them.
  __device__ __forceinline__ void load_ahead(int step, int steps, int slot) {
    if constexpr (kFormsColumns) inside_ <<= kColumnPasses;
    if (step < steps) load(slot);
    cp_async_commit();
  }
  /// Makes the operands of a step, kAhead - 1 before the one copied last, of what this thread copied.
  __device__ __forceinline__ void prepare(int step, int slot) {
    cp_async_wait<kAhead - 1>();
    if constexpr (kFormsRows) form(step, slot);
    if (sums_rows()) add_row_sums(shared_ + slot * kStageBytes);
    if constexpr (kProduct == Product::kWarpgroup) fence_shared_for_wgmma();
  }

  template <typename Left>
  __device__ __forceinline__ void start_multiply(int slot, Left& left) {
    const SharedAddress tile = shared_address(shared_ + slot * kStageBytes);
    const FlatLane<T, kRowChunks, true> rows(tile, warp_row(), lane());
    const ColumnFactor columns(tile + kRowBytes, warp_column(), lane());
    start_steps<kTile.depth / FactorA::kDepth>(
        sums_, left, columns, [&](auto& a, int step, int f) { load_flat_rows(a, rows, step, f); });
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

  /// Row (column) of the first of four sums of a fragment; the others are 1 column, 8 rows and both further.
  __device__ __forceinline__ int row_of(int f) const {
    return first_row_ + warp_row() + 16 * f + lane() / 4;
  }
  __device__ __forceinline__ int column_of(int q) const {
    return first_column_ + warp_column() + 8 * q + lane() % 4 * 2;
  }

  /// True in the block that has the sum of all pieces.
  __device__ __forceinline__ bool join() {
    if (g_.pieces == 1) return true;
    const int64_t tile = (int64_t{group_} * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    constexpr int64_t kSlot = kTile.rows * kTile.columns / 4;
    return join_sums<kThreads>(sums_, piece_, g_.pieces, arrays_.partial + tile * g_.tree.slots * kSlot,
                               arrays_.counters + tile * g_.tree.groups, [this](int f, int q) {
                                 return row_of(f) < g_.rows && column_of(q) < g_.columns;
                               });
  }

  __device__ __forceinline__ void store(float* d_weight) const {
#pragma unroll
    for (int f = 0; f < kRowFragments; ++f) {
#pragma unroll
      for (int q = 0; q < kColumnFragments; ++q) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = row_of(f) + 8 * (i >> 1), column = column_of(q) + (i & 1);
          if (row < g_.rows && column < g_.columns) {
            d_weight[static_cast<int64_t>(row) * g_.columns + column] = sums_[f][q][i];
          }
        }
      }
    }
  }

  const FilterGeometry& g_;
  const FilterArrays& arrays_;
  const T* d_dst_;
  const T* src_;
  unsigned char* shared_;
  RowTable row_table_;
  ColumnTable column_table_;
  float4* row_sums_;
  int first_column_, first_row_, piece_, group_;
  int tap_h_[kColumnsOfThread], tap_w_[kColumnsOfThread], channel_[kColumnsOfThread];
  int offset_[kColumnsOfThread];  ///< of the element from the pixel's first channel; not of chunks
  unsigned
      d_dst_pixel_;  ///< of the next chunk of d_dst that this thread copies, far behind the last: of none
  TapWalk walk_;     ///< of the next chunk of columns
  /// Which of this thread's chunks of src are pixels and not padding: kColumnPasses bits a step, the step
  /// copied last in the lowest.
  unsigned inside_ = 0;
  float sums_[kRowFragments][kColumnFragments][4];
};

template <TileName kName, typename T, F32Math kMath, bool kAligned, bool kForms, Product kProduct>
__global__ void __launch_bounds__(tile_of(kName).threads(), tile_of(kName).blocks)
    conv_backward_filter_kernel(const FilterGeometry g, const FilterArrays arrays) {
  if constexpr (compiles_here<T>(kName, kProduct)) {
    grid_dependency_wait();
    grid_dependency_trigger();
    DYNAMIC_SHARED(shared);
    FilterBlock<kName, T, kMath, kAligned, kForms, kProduct>(g, arrays, shared).run();
  }
}

template <TileName kName, typename T, F32Math kMath, bool kAligned>
void launch_filter_tile(const ConvProblem& problem, const FilterArrays& arrays, Stream stream) {
  constexpr Tile kTile = tile_of(kName);
  const FilterGeometry g(problem, kTile);
  const dim3 grid(static_cast<unsigned>(ceil_div(g.columns, kTile.columns)),
                  static_cast<unsigned>(ceil_div(g.rows, kTile.rows)),
                  static_cast<unsigned>(problem.shape.groups * g.pieces));
  const bool row_sums = arrays.d_bias != nullptr;
  const bool forms = row_sums || arrays.d_dst.form != Form::kStored || arrays.src.form != Form::kStored;
  with_flag(forms, [&](auto flag) {
    with_product<T, kName>([&](auto product) {
      using Block = FilterBlock<kName, T, kMath, kAligned, flag.value, product.value>;
      static_assert(Block::shared_bytes(true) <= kSharedBytes);
      launch("conv_backward_filter",
             conv_backward_filter_kernel<kName, T, kMath, kAligned, flag.value, product.value>, grid,
             dim3(kTile.threads()), Block::shared_bytes(row_sums), stream, g, arrays);
    });
  });
}

/// conv_backward_filter of one element type; conv_TYPE.cu instantiates it.
template <typename T, F32Math kMath>
void launch_filter(const ConvProblem& problem, const ConvSource& d_dst, const ConvSource& src,
                   const FilterResult& result, Stream stream) {
  float4* const partial = static_cast<float4*>(result.workspace);
  const FilterArrays arrays{
      .d_dst = d_dst,
      .src = src,
      .d_weight = result.d_weight,
      .d_bias = result.d_bias,
      .partial = partial,
      .bias_partial = reinterpret_cast<float*>(partial) + filter_partial_floats(problem),
      .counters = result.counters};
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
    if (tile == TileName::kFilterPackedColumns)
      return launch_filter_tile<TileName::kFilterPackedColumns, T, kMath, false>(problem, arrays, stream);
    return launch_filter_tile<TileName::kFilterPacked, T, kMath, false>(problem, arrays, stream);
  }
}

}  // namespace residuum::kernels
