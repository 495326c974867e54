// What a block of a convolution knows of its pixels and taps, in shared memory, as registers are scarce: for
// each row of a tile the source pixel of tap offset (0, 0) and its position, for several tiles ahead; and for
// each tap its distance, in pixels and in weights.
#pragma once

#include <type_traits>

#include "kernels/conv/geometry.h"
#include "kernels/device/tile.cuh"

namespace residuum::kernels {

inline constexpr int kZeroBytes = 128, kScalarBytes = 112;  // behind them, one tap fills the line

/// A row of a tile: its source pixel and position y << 16 | x; beyond the last one, a position that has every
/// tap outside of the image.
struct Row {
  int src, position;
};
/// A tap: how far from a row's source pixel it reads, in lines, columns and pixels in memory; and where its
/// weights begin. A parity class that no tap of the kernel falls into has one of zeros, whose weights begin
/// at kNoWeights.
struct alignas(16) Tap {
  int dh = 0, dw = 0, distance = 0, weight = 0;
};

/// What a block plans for its run: its first row, tiles, and the passes of its threads over a patch that make
/// a piece.
struct RunPlan {
  int first = 0, tiles = 0, piece_passes = 0;
};

inline constexpr int kNoWeights = -1, kOutside = -(1 << 15);

/// kTables tables of kRows rows: that of tile t is number t modulo kTables. None: a 1x1 kernel's rows are
/// pixels. kRelative: source pixels are counted from the first one of the tile's patch, and kKnown tiles have
/// theirs known at once.
template <int kRows, int kTables, bool kRelative, int kKnown, int kThreads, bool kBackwardData>
class ConvRows {
 public:
  __device__ __forceinline__ ConvRows(const ConvGeometry& g, unsigned char* shared, int parity)
      : g_(g), tables_(reinterpret_cast<Row*>(shared)), grid_(find_grid(parity)) {
    all_ = g.n * grid_.grid_h * grid_.grid_w;
    taps_ = max(1, grid_.taps());
  }

  /// Rows of all tiles: output pixels (of a parity class).
  __device__ __forceinline__ int all() const { return all_; }
  __device__ __forceinline__ int taps() const { return taps_; }
  __device__ __forceinline__ const Row* table(int tile) const {
    return tables_ + slot<kTables>(tile) * kRows;
  }
  /// Set by all threads alike; a barrier must follow.
  __device__ __forceinline__ void set_plan(const RunPlan& plan) const {
    if (threadIdx.x == 0) scalars().plan = plan;
  }
  __device__ __forceinline__ const RunPlan& plan() const { return scalars().plan; }
  /// The first source pixel of the patch of a tile that serves all taps.
  __device__ __forceinline__ int lowest(int tile) const { return scalars().lowest[slot<kSlots>(tile)]; }
  __device__ __forceinline__ Tap tap(int number) const { return tap_table()[number]; }
  /// A row of zeros.
  __device__ __forceinline__ unsigned char* zeros() const {
    return reinterpret_cast<unsigned char*>(tables_ + kTables * kRows);
  }
  /// The first byte behind all that.
  __device__ __forceinline__ unsigned char* end() const {
    const int bytes = kScalarBytes + g_.kernel_h * g_.kernel_w * static_cast<int>(sizeof(Tap));
    return zeros() + kZeroBytes + (bytes + 127) / 128 * 128;
  }

  /// Whether the pixel at `position` has its tap inside the image.
  __device__ __forceinline__ bool inside(int position, const Tap& tap) const {
    const int h = (position >> 16) + tap.dh, w = static_cast<int16_t>(position & 0xFFFF) + tap.dw;
    return static_cast<unsigned>(h) < static_cast<unsigned>(g_.src_h) &&
           static_cast<unsigned>(w) < static_cast<unsigned>(g_.src_w);
  }
  /// The pixel that the result of a row goes to.
  __device__ __forceinline__ int dst(int row) const {
    if (!kBackwardData || g_.stride == 1) return row;
    const int x = row % grid_.grid_w, rest = row / grid_.grid_w;
    const int y = rest % grid_.grid_h, image = rest / grid_.grid_h;
    return (image * g_.dst_h + y * grid_.dst_stride + grid_.offset_h) * g_.dst_w + x * grid_.dst_stride +
           grid_.offset_w;
  }

  /// Fills the table of a tile whose first row is `first`; a barrier must follow. kRelative: the first pixel
  /// of its patch is known.
  __device__ __forceinline__ void fill(int tile, int first) const {
    if constexpr (kTables > 0) {
      Row* const table = tables_ + slot<kTables>(tile) * kRows;
      for (int r = static_cast<int>(threadIdx.x); r < kRows; r += kThreads) {
        Row own = row(first + r);
        if (kRelative) own.src -= lowest(tile);
        table[r] = own;
      }
    }
  }
  /// Makes the first pixel of a tile's patch known; a barrier must follow.
  __device__ __forceinline__ void set_lowest(int tile, int first) const {
    if (threadIdx.x != 0) return;
    scalars().lowest[slot<kSlots>(tile)] = row(first).src + grid_.lowest_h() * g_.src_w + grid_.lowest_w();
  }
  /// Fills the table of taps and the row of zeros; a barrier must follow.
  __device__ __forceinline__ void fill_taps() const {
    const int thread = static_cast<int>(threadIdx.x);
    if (thread == 0 && grid_.taps() == 0) tap_table()[0] = {kOutside, kOutside, 0, kNoWeights};
    for (int t = thread; t < grid_.taps(); t += kThreads) {
      const int i = t / grid_.taps_w, j = t % grid_.taps_w;
      const int dh = grid_.first_h + i * grid_.step, dw = grid_.first_w + j * grid_.step;
      const int element = (grid_.first_r + i * grid_.r_step) * g_.kernel_w + grid_.first_s + j * grid_.r_step;
      tap_table()[t] = {dh, dw, dh * g_.src_w + dw, element * g_.weight_tap};
    }
    if (thread < kZeroBytes / kChunkBytes) reinterpret_cast<uint4*>(zeros())[thread] = uint4{0, 0, 0, 0};
  }

 private:
  /// Of the first pixels of patches: a power of two.
  static constexpr int kSlots = kKnown <= 4 ? 4 : 8;
  static_assert(kKnown <= kSlots);
  template <int kOf>
  __device__ __forceinline__ static int slot(int tile) {
    return static_cast<int>(static_cast<unsigned>(tile) % static_cast<unsigned>(kOf > 0 ? kOf : 1));
  }

  /// Row `number` of all.
  __device__ __forceinline__ Row row(int number) const {
    if (number >= all_) return {0, static_cast<int>(0x80008000u)};
    const int x = number % grid_.grid_w, rest = number / grid_.grid_w;
    const int y = rest % grid_.grid_h, image = rest / grid_.grid_h;
    const int h = y * grid_.src_stride, w = x * grid_.src_stride;
    return {(image * g_.src_h + h) * g_.src_w + w, h << 16 | w};
  }

  struct Scalars {
    TapGrid grid;  ///< of backward-data
    int lowest[kSlots];
    RunPlan plan;
  };
  static_assert(sizeof(Scalars) <= kScalarBytes);

  __device__ __forceinline__ Scalars& scalars() const {
    return *reinterpret_cast<Scalars*>(zeros() + kZeroBytes);
  }
  __device__ __forceinline__ Tap* tap_table() const {
    return reinterpret_cast<Tap*>(zeros() + kZeroBytes + kScalarBytes);
  }
  /// Of the forward pass, constants.
  __device__ __forceinline__ decltype(auto) find_grid(int parity) const {
    if constexpr (kBackwardData) {
      if (threadIdx.x == 0) scalars().grid = g_.backward_taps(parity);
      __syncthreads();
      return static_cast<const TapGrid&>(scalars().grid);
    } else {
      return g_.forward_taps();
    }
  }

  const ConvGeometry& g_;
  Row* tables_;
  std::conditional_t<kBackwardData, const TapGrid&, const TapGrid> grid_;
  int all_, taps_;
};

}  // namespace residuum::kernels
