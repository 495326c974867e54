// Backward-filter of images with few channels (a stem: 7x7 taps of 3 channels). A step of the sum is two runs
// of output pixels, each in one line. What the taps of a kernel line see of a run is one segment of a source
// line, contiguous as channels are last: segments come to shared memory in 16-byte copies, each once, and
// columns are cut out of them, shifted, chunk by chunk; so the columns of a kernel line begin at a whole
// chunk, and the few behind the line's last tap multiply what is never stored. One block has all columns.
#pragma once

#include "kernels/conv/product.cuh"
#include "kernels/conv_backward_filter/result.cuh"

namespace residuum::kernels {

/// Right factors of columns in panels of 64, of which each of four warps takes sixteen.
template <typename T, F32Math kMath, int kDepth>
struct PanelFactor {
  using Left = Factor<T, kMath, 4>;
  using Right = Factor<T, kMath, 2>;
  static constexpr int kPanelBytes = kDepth * 8 * kChunkBytes;
  FlatLane<T, 8, false> flat;
  __device__ __forceinline__ PanelFactor(SharedAddress tile, int first, int lane) : flat(tile, first, lane) {}
  __device__ __forceinline__ void load(Right& b0, Right& b1, int step, int group) const {
    FlatLane<T, 8, false> panel = flat;
    panel.address += static_cast<SharedAddress>(group * kPanelBytes);
    load_flat_columns(b0, b1, panel, step, 0);
  }
};

template <typename T, F32Math kMath, bool kForms>
class FilterLinesBlock {
 public:
  __device__ __forceinline__ FilterLinesBlock(const FilterGeometry& g, const FilterArrays& arrays,
                                              unsigned char* shared)
      : g_(g),
        arrays_(arrays),
        part_{0, static_cast<int>(blockIdx.y) * kTile.rows, static_cast<int>(blockIdx.z)},
        shared_(shared),
        columns_(shared + kTile.stages * kStageBytes),
        table_(reinterpret_cast<float*>(columns_ + 2 * kColumnBytes + Rows::kTableBytes)),
        rows_(g, arrays, part_, columns_ + 2 * kColumnBytes, columns_ + 2 * kColumnBytes + kTableBytes) {}

  __device__ __forceinline__ void run() {
    find_tasks();
    sum();
    rows_.leave_sums();
    const auto row_of = [&](int f) { return part_.first_row + warp_row() + 16 * f + lane() / 4; };
    const auto column_of = [&](int q) { return q / 2 * 64 + warp_column() + q % 2 * 8 + lane() % 4 * 2; };
    const auto has_sums = [&](int f, int q) { return row_of(f) < g_.rows && column_of(q) < g_.columns; };
    if (!join_pieces<kThreads>(sums_, g_, arrays_, part_, has_sums)) return;
    const auto weight_of = [&](int column) {
      const auto [line, element] = g_.lines.column.split(static_cast<uint32_t>(column));
      const bool exists = column < g_.columns && static_cast<int>(element) < g_.lines.elements;
      return exists ? static_cast<int>(line) * g_.lines.elements + static_cast<int>(element) : -1;
    };
    store_sums(sums_, g_.rows, g_.weight_columns, arrays_.d_weight, row_of, column_of, weight_of);
    rows_.finish_sums(shared_);
  }

  /// Shared memory of a block, which sums its rows or not.
  static constexpr size_t shared_bytes(bool row_sums) {
    return static_cast<size_t>(kTile.stages * kStageBytes + 2 * kColumnBytes) + (kForms ? kTableBytes : 0) +
           (row_sums ? Rows::kSumBytes : 0);
  }

 private:
  static constexpr Tile kTile = tile_of(TileName::kFilterLines);
  static constexpr int kThreads = kTile.threads(), kWarps = kThreads / 32;
  static_assert(kTile.depth == 2 * kFilterRun && kTile.depth == 32 && kTile.warps_n == 4);
  /// A stage: chunks of rows, segments, chunks of tensor b of the rows.
  static constexpr int kRowBytes = kTile.depth * kTile.rows * static_cast<int>(sizeof(T));
  using Rows =
      FilterRows<T, kTile.rows, kTile.depth, kThreads, kTile.stages, kRowBytes + kSegmentBytes, true, kForms>;
  static constexpr int kStageBytes = kRowBytes + kSegmentBytes + (kForms ? kRowBytes : 0);
  static constexpr int kColumnBytes = kTile.depth * kTile.columns * static_cast<int>(sizeof(T));
  static constexpr int kAhead = kTile.stages - 1;
  static constexpr int kRowFragments = kTile.warp_rows() / 16, kColumnFragments = kTile.warp_columns() / 8;
  /// Chunks of a pixel's columns that a thread cuts out.
  static constexpr int kChunks = kTile.columns / kChunk<T>, kCuts = kChunks / kWarps;
  static_assert(kCuts * kWarps == kChunks);
  using Table = FormTable<T, 2, kTile.columns>;
  static constexpr size_t kTableBytes = Rows::kTableBytes + sizeof(float) * Table::kFloats;

  __device__ __forceinline__ static int thread() { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ static int lane() { return thread() % 32; }
  __device__ __forceinline__ static int warp() { return thread() / 32; }
  __device__ __forceinline__ static int warp_row() { return warp() / kTile.warps_n * kTile.warp_rows(); }
  __device__ __forceinline__ static int warp_column() { return warp() % kTile.warps_n * 16; }
  __device__ __forceinline__ bool forms_src() const { return kForms && arrays_.src.form == Form::kApply; }

  /// What this thread copies of every step, a chunk of a segment; and what it cuts out: of the pixel with the
  /// number of its lane the chunks with that of its warp, and every eighth after it.
  __device__ __forceinline__ void find_tasks() {
    const FilterLines& lines = g_.lines;
    const int of_run = lines.kernel_h * lines.segment_chunks;
    copied_run_ = thread() / of_run;
    copied_line_ = thread() % of_run / lines.segment_chunks;
    copied_chunk_ = thread() % lines.segment_chunks;
#pragma unroll
    for (int i = 0; i < kCuts; ++i) {
      const int chunk = warp() + i * kWarps, of_line = lines.columns / kChunk<T>;
      cut_line_[i] = chunk / of_line;
      cut_element_[i] = chunk % of_line * kChunk<T>;
    }
  }

  /// A run of output pixels: its line among those of all images, its first column; and whether it is one.
  struct Run {
    int line, image, y, x;
    bool exists;
  };
  __device__ __forceinline__ Run run_of(int step, int number) const {
    const int run = 2 * (part_.piece * g_.steps_per_piece + step) + number;
    const auto [line, of_line] = g_.lines.run.split(static_cast<uint32_t>(run));
    const auto [image, y] = g_.lines.image.split(line);
    return {static_cast<int>(line), static_cast<int>(image), static_cast<int>(y),
            static_cast<int>(of_line) * kFilterRun, run < g_.lines.runs};
  }
  /// Where what a run sees of its source line begins within the line.
  __device__ __forceinline__ int left_of(const Run& run) const {
    return (run.x * g_.stride - g_.pad) * g_.src_c;
  }

  __device__ __forceinline__ unsigned char* stage(int step) const {
    return shared_ + step % kTile.stages * kStageBytes;
  }
  __device__ __forceinline__ unsigned char* column_tile(int step) const {
    return columns_ + step % 2 * kColumnBytes;
  }

  /// Starts the copies of a step, if it is one of them.
  __device__ __forceinline__ void load(int step, int steps) {
    rows_.begin_step();
    if (step < steps) {
      const int pixel = Rows::first_pixel();
      const Run run = run_of(step, pixel / kFilterRun);
      const int x = run.x + pixel % kFilterRun;
      rows_.start(run.line * g_.lines.dst_w + x, run.exists && x < g_.lines.dst_w);
      rows_.load(stage(step));
      copy_segments(step, stage(step) + kRowBytes);
    }
    cp_async_commit();
  }
  __device__ __forceinline__ void copy_segments(int step, unsigned char* segments) const {
    if (copied_run_ > 1) return;
    const Run run = run_of(step, copied_run_);
    const int h = run.y * g_.stride - g_.pad + copied_line_;
    const int64_t first = static_cast<int64_t>(run.image * g_.src_h + h) * g_.lines.src_line + left_of(run);
    const int64_t chunk = (first >> kChunkShift) + copied_chunk_;
    const bool inside = run.exists && static_cast<unsigned>(h) < static_cast<unsigned>(g_.src_h) &&
                        static_cast<uint64_t>(chunk) < static_cast<uint64_t>(g_.lines.src_chunks);
    const int place = segment_chunk(copied_run_, copied_line_) + copied_chunk_;
    cp_async_16(shared_address(segments + place * kChunkBytes),
                static_cast<const T*>(arrays_.src.a) + chunk * kChunk<T>, inside);
  }
  __device__ __forceinline__ int segment_chunk(int run, int line) const {
    return run * g_.lines.run_chunks + line * g_.lines.segment_chunks;
  }

  /// The columns of a step, whose segments have arrived.
  __device__ __forceinline__ void cut_columns(int step) const {
    const int number = lane() / kFilterRun, x = lane() % kFilterRun;
    const Run run = run_of(step, number);
    const bool exists = run.exists && run.x + x < g_.lines.dst_w;
    const int left = left_of(run), pixel = x * g_.stride * g_.src_c;
    const unsigned char* const segments = stage(step) + kRowBytes;
#pragma unroll
    for (int i = 0; i < kCuts; ++i) {
      const int h = run.y * g_.stride - g_.pad + cut_line_[i];
      if (cut_line_[i] >= g_.lines.kernel_h) continue;
      ChunkOf<T> chunk = {};
      if (exists && static_cast<unsigned>(h) < static_cast<unsigned>(g_.src_h)) {
        // Segments begin at a whole chunk of the tensor, up to seven elements before what is seen.
        const unsigned first =
            static_cast<unsigned>(run.image * g_.src_h + h) * static_cast<unsigned>(g_.lines.src_line) +
            static_cast<unsigned>(left);
        const int element = static_cast<int>(first % kChunk<T>) + pixel + cut_element_[i];
        cut(segments + segment_chunk(number, cut_line_[i]) * kChunkBytes, element, chunk);
        if (forms_src()) form(i, chunk);
        clear_outside(left + pixel + cut_element_[i], chunk);
      }
      *reinterpret_cast<ChunkOf<T>*>(place_of(column_tile(step), i)) = chunk;
    }
  }
  /// Where this thread puts its chunk `cut`.
  __device__ __forceinline__ static unsigned char* place_of(unsigned char* tile, int cut) {
    const int chunk = warp() + cut * kWarps;
    return tile + chunk / 8 * PanelFactor<T, kMath, kTile.depth>::kPanelBytes +
           chunk_offset<8>(lane(), chunk % 8);
  }
  /// A chunk that begins at any element of a segment: five words, shifted by a half or not.
  __device__ __forceinline__ static void cut(const unsigned char* segment, int element, ChunkOf<T>& chunk) {
    const uint32_t* const from = reinterpret_cast<const uint32_t*>(segment) + element / 2;
    const int shift = element % 2 * 16;
    uint32_t* const words = reinterpret_cast<uint32_t*>(chunk.at);
    uint32_t low = from[0];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t high = from[i + 1];
      words[i] = static_cast<uint32_t>((uint64_t{high} << 32 | low) >> shift);
      low = high;
    }
  }
  __device__ __forceinline__ void form(int cut, ChunkOf<T>& chunk) const {
    ChunkOf<T> one[1] = {chunk};
    form_applied(one, arrays_.src.relu, table_, warp() + cut * kWarps);
    chunk = one[0];
  }
  /// Elements left or right of the image are zeros; the chunk's first is `first` of its line.
  __device__ __forceinline__ void clear_outside(int first, ChunkOf<T>& chunk) const {
    if (first >= 0 && first + kChunk<T> <= g_.lines.src_line) return;
#pragma unroll
    for (int i = 0; i < kChunk<T>; ++i) {
      const bool inside = static_cast<unsigned>(first + i) < static_cast<unsigned>(g_.lines.src_line);
      if (!inside) chunk.at[i] = from_float<T>(0.0f);
    }
  }

  /// Coefficients of rows and columns, and zeros where columns of the tile are none.
  __device__ __forceinline__ void fill() {
    rows_.fill_table();
    if (forms_src()) {
      for (int c = thread(); c < kTile.columns; c += kThreads) {
        affine_of(arrays_.src.vectors, c % g_.lines.columns % g_.src_c, table_.at(0, c), table_.at(1, c));
      }
    }
#pragma unroll
    for (int i = 0; i < kCuts; ++i) {
      if (cut_line_[i] < g_.lines.kernel_h) continue;
      *reinterpret_cast<ChunkOf<T>*>(place_of(column_tile(0), i)) = ChunkOf<T>{};
      *reinterpret_cast<ChunkOf<T>*>(place_of(column_tile(1), i)) = ChunkOf<T>{};
    }
  }

  __device__ __forceinline__ void sum() {
    clear(sums_);
    rows_.clear_sums();
    const int steps = min(g_.steps_per_piece, g_.steps - part_.piece * g_.steps_per_piece);
    for (int step = 0; step < kAhead; ++step) load(step, steps);
    fill();
    cp_async_wait<kAhead - 1>();
    __syncthreads();
    prepare(0);
    for (int step = 0; step < steps; ++step) {
      __syncthreads();
      load(step + kAhead, steps);
      multiply(step);
      if (step + 1 < steps) prepare(step + 1);
    }
    cp_async_wait<0>();
  }
  /// Makes the operands of a step, whose copies have arrived before the last barrier, and waits for those of
  /// the next one.
  __device__ __forceinline__ void prepare(int step) {
    cut_columns(step);
    rows_.form(stage(step));
    rows_.add(stage(step));
    cp_async_wait<kAhead - 2>();
  }
  __device__ __forceinline__ void multiply(int step) {
    using Columns = PanelFactor<T, kMath, kTile.depth>;
    const FlatLane<T, Rows::kChunks, true> rows(shared_address(stage(step)), warp_row(), lane());
    const Columns columns(shared_address(column_tile(step)), warp_column(), lane());
    multiply_steps<kTile.depth / Columns::Left::kDepth>(
        sums_, columns, [&](auto& a, int part, int f) { load_flat_rows(a, rows, part, f); });
  }

  static constexpr int kChunkShift = 3;
  static_assert(kChunk<T> == 1 << kChunkShift);

  const FilterGeometry& g_;
  const FilterArrays& arrays_;
  FilterPart part_;
  unsigned char *shared_, *columns_;
  Table table_;
  Rows rows_;
  int copied_run_, copied_line_, copied_chunk_;
  int cut_line_[kCuts], cut_element_[kCuts];
  float sums_[kRowFragments][kColumnFragments][4];
};

}  // namespace residuum::kernels
