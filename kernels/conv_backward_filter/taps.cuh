// Backward-filter of 3x3 kernels of stride 1 or 2 with padding 1. Each output pixel then has stride^2 source
// pixels of its own, and a tap reads one of those a fixed distance away: one block has all nine taps of its
// channels, and reads (and forms) each source pixel once for them, from a ring that slides along
// (conv_backward_filter/ring.cuh). The warps are beside each other in the channels and share the pixels of a
// step; what each has summed over its pixels is added in the order of the warps when the piece ends. Half of
// a scheduler's warps form the operands of the next step before they multiply, the others after that, so that
// tensor cores have work throughout.
#pragma once

#include "kernels/conv/product.cuh"
#include "kernels/conv_backward_filter/result.cuh"
#include "kernels/conv_backward_filter/ring.cuh"

namespace residuum::kernels {

template <TileName kName, typename T, F32Math kMath, bool kForms>
class FilterTapsBlock {
 public:
  __device__ __forceinline__ FilterTapsBlock(const FilterGeometry& g, const FilterArrays& arrays,
                                             unsigned char* shared)
      : g_(g),
        arrays_(arrays),
        part_{0, static_cast<int>(blockIdx.y) * kTile.rows, static_cast<int>(blockIdx.z) % g.pieces},
        shared_(shared),
        first_channel_(static_cast<int>(blockIdx.x) * kChannels),
        first_pixel_(part_.piece * g.steps_per_piece * kTile.depth),
        rows_(g, arrays, part_, shared + kTables, shared + kTables + (kForms ? kTableBytes : 0)),
        ring_(g, arrays.src, first_channel_, first_pixel_ - line_and_pixel(),
              shared + kTile.stages * kStageBytes, shared + kTables + Rows::kTableBytes) {}

  __device__ __forceinline__ void run() {
    sum();
    rows_.leave_sums();
    float totals[kOwn][1][4];
    share_out(totals);
    const auto exists = [&](int i, int) {
      const Place at = place_of(i);
      return at.row < g_.rows && at.channel < g_.depth_c;
    };
    if (!join_pieces<kThreads>(totals, g_, arrays_, part_, exists)) return;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (exists(i, 0)) store(place_of(i), totals[i][0]);
    }
    rows_.finish_sums(shared_);
  }

  /// Shared memory of a block, which sums its rows or not.
  static constexpr size_t shared_bytes(bool row_sums) {
    return static_cast<size_t>(kTables) + (kForms ? kTableBytes : 0) + (row_sums ? Rows::kSumBytes : 0);
  }

 private:
  static constexpr Tile kTile = tile_of(kName);
  static constexpr int kThreads = kTile.threads(), kAhead = steps_ahead(kTile);
  static constexpr int kStride = taps_stride(kName), kChannels = kTile.columns / kFilterTapsCount;
  static constexpr int kRowChunks = kTile.rows / kChunk<T>;
  static constexpr int kRowBytes = kTile.depth * kRowChunks * kChunkBytes;
  static constexpr int kStageBytes = kForms ? 2 * kRowBytes : kRowBytes;
  using Rows = FilterRows<T, kTile.rows, kTile.depth, kThreads, kAhead, kRowBytes, true, kForms>;
  using Ring = FilterRing<T, kStride, kChannels, kTile.depth, filter_ring_steps(kName), kThreads, kForms>;
  /// Behind the stages and the ring: tables, then sums of the rows.
  static constexpr int kTables = kTile.stages * kStageBytes + Ring::kBytes;
  static constexpr size_t kTableBytes = Rows::kTableBytes + Ring::kTableBytes;

  /// A warp's pixels of a step: those of a transposing ldmatrix, two mma deep.
  static constexpr int kWarpPixels = 32, kSteps = 2;
  static_assert(kTile.depth == kTile.warps_k * kWarpPixels && kTile.warps_m == 1 && sizeof(T) == 2);
  static constexpr int kRowFragments = kTile.rows / 16;
  static constexpr int kWarpChunks = kChannels / kChunk<T> / kTile.warps_n;
  static constexpr int kColumnFragments = kFilterTapsCount * kWarpChunks;
  /// Fragments that a thread has when sums are shared out, and how many of all are shared out at once.
  static constexpr int kFragments = kRowFragments * kColumnFragments, kOwn = filter_fragments(kTile);
  static constexpr int kRound = kTile.warps_k == 8 ? 8 : 12, kOwnOfRound = kRound / kTile.warps_k;
  static_assert(kRound % kTile.warps_k == 0 && (kFragments + kRound - 1) / kRound * kOwnOfRound == kOwn);
  static_assert(kRound * kThreads * static_cast<int>(sizeof(float4)) <= kTables);
  using Left = Factor<T, kMath, 4>;
  struct Right {
    Factor<T, kMath, 2> at[kWarpChunks][kSteps];
  };

  __device__ __forceinline__ static unsigned thread() {
    return threadIdx.x;
  }
  /// The same, computed where it is wanted and not kept in a register.
  __device__ __forceinline__ static unsigned thread_here() {
    return computed_here(threadIdx.x);
  }
  __device__ __forceinline__ static int lane(unsigned thread) {
    return static_cast<int>(thread % 32);
  }
  __device__ __forceinline__ static int warp_n(unsigned thread) {
    return static_cast<int>(thread / 32 % kTile.warps_n);
  }
  __device__ __forceinline__ static int warp_k(unsigned thread) {
    return static_cast<int>(thread / 32 / kTile.warps_n);
  }
  /// Of the two warps of a scheduler, the one that forms first.
  __device__ __forceinline__ static bool forms_first() {
    return thread() >= 128;
  }

  /// A lane's pixel of a step.
  __device__ __forceinline__ static int place_of_lane(unsigned thread) {
    return warp_k(thread) * kWarpPixels + lane(thread);
  }

  /// From an output pixel to the farthest of which a tap reads the source, on either side (stride 2: before
  /// it), and how many steps of the ring that may be.
  __device__ __forceinline__ int line_and_pixel() const {
    return g_.dst_w + 1;
  }
  __device__ __forceinline__ int halo_steps() const {
    return filter_halo_steps(g_.dst_w, kStride, kTile.depth);
  }
  /// Where tap (r, s) reads: so many lines or columns from the output pixel, and which source pixel of those
  /// there.
  __device__ __forceinline__ static constexpr int distance(int r) {
    return kStride == 1 ? r - 1 : r == 0 ? -1 : 0;
  }
  __device__ __forceinline__ static constexpr int plane(int r, int s) {
    return kStride == 1 ? 0 : (r + 1) % 2 * 2 + (s + 1) % 2;
  }

  __device__ __forceinline__ unsigned char* stage(int step) const {
    return shared_ + static_cast<unsigned>(step) % kTile.stages * kStageBytes;
  }

  __device__ __forceinline__ void sum() {
    clear(sums_);
    rows_.clear_sums();
    const int steps = min(g_.steps_per_piece, g_.steps - part_.piece * g_.steps_per_piece);
    rows_.start(first_pixel_ + Rows::first_pixel());
    for (int step = 0; step < halo_steps(); ++step) ring_.load(step);
    for (int step = 0; step < kAhead - 1; ++step) load(step, steps);
    rows_.fill_table();
    ring_.fill();
    __syncthreads();
    cp_async_wait<kAhead - 2>();
    for (int step = 0; step < halo_steps(); ++step) ring_.form(step);
    prepare(0);
    load(kAhead - 1, steps);
    unsigned inside = inside_of(0);
    for (int step = 0; step < steps; ++step) {
      const bool goes_on = step + 1 < steps;
      __syncthreads();
      if (goes_on && forms_first()) prepare(step + 1);
      multiply(step, inside);
      if (goes_on && !forms_first()) prepare(step + 1);
      // Into the place of the step before this one, which no warp reads any more.
      load(step + kAhead, steps);
      inside = inside_of(step + 1);
    }
    cp_async_wait<0>();
  }

  /// Starts the copies of a step, if it is one of them.
  __device__ __forceinline__ void load(int step, int steps) {
    rows_.begin_step();
    if (step < steps) {
      rows_.load(stage(step));
      ring_.load(step + halo_steps());
    }
    cp_async_commit();
  }
  /// Makes the operands of a step, kAhead - 2 before the one copied last, of what this thread copied.
  __device__ __forceinline__ void prepare(int step) {
    cp_async_wait<kAhead - 2>();
    rows_.form(stage(step));
    rows_.add(stage(step));
    ring_.form(step + halo_steps());
  }

  /// Which taps of this lane's pixel of a step are inside of the image, a bit each. Found before the barrier,
  /// so that the product begins soon after it.
  __device__ __forceinline__ unsigned inside_of(int step) const {
    const int place = place_of_lane(thread_here());
    const auto [image, of_image] =
        g_.image.split(static_cast<uint32_t>(first_pixel_ + step * kTile.depth + place));
    const auto [y, x] = g_.line.split(of_image);
    unsigned lines = 0, columns = 0;
#pragma unroll
    for (int r = 0; r < 3; ++r) {
      const auto is_inside = [&](unsigned at, int extent) {
        const auto distance = static_cast<unsigned>(FilterTapsBlock::distance(r));
        return distance == 0 || at + distance < static_cast<unsigned>(extent);
      };
      if (is_inside(y, g_.dst_h)) lines |= 0b111u << 3 * r;
      if (is_inside(x, g_.dst_w)) columns |= 0b001001001u << r;
    }
    return lines & columns;
  }
  /// From a pixel to the farthest one.
  __device__ __forceinline__ int ahead() const {
    return kStride == 1 ? line_and_pixel() : 0;
  }

  __device__ __forceinline__ void multiply(int step, unsigned inside) {
    const unsigned thread = thread_here();
    const int farthest = Ring::offset(step, place_of_lane(thread) + line_and_pixel() + ahead());
    const auto load_right = [&](Right& right, int tap) {
      const int before = ahead() - distance(tap / 3) * g_.dst_w - distance(tap % 3);
      const bool exists = (inside >> tap & 1) != 0;
      const SharedAddress pixel = ring_.address(farthest, plane(tap / 3, tap % 3), before, exists) +
                                  static_cast<SharedAddress>(warp_n(thread) * kWarpChunks * Ring::kPitch);
#pragma unroll
      for (int c = 0; c < kWarpChunks; ++c) {
        uint32_t words[4];
        ldmatrix_x4_transposed(words, pixel + static_cast<SharedAddress>(c * Ring::kPitch));
        right.at[c][0].words[0] = words[0], right.at[c][0].words[1] = words[1];
        right.at[c][1].words[0] = words[2], right.at[c][1].words[1] = words[3];
      }
    };
    Right right[2];
    load_right(right[0], 0);
    Left left[kSteps][kRowFragments];
    load_left(stage(step), thread, left);
#pragma unroll
    for (int tap = 0; tap < kFilterTapsCount; ++tap) {
      if (tap + 1 < kFilterTapsCount) load_right(right[(tap + 1) % 2], tap + 1);
      multiply_tap(tap, left, right[tap % 2]);
    }
  }
  __device__ __forceinline__ void load_left(const unsigned char* rows, unsigned thread,
                                            Left (&left)[kSteps][kRowFragments]) {
    const FlatLane<T, kRowChunks, true> flat(
        shared_address(rows) +
            static_cast<SharedAddress>(warp_k(thread) * kWarpPixels * kRowChunks * kChunkBytes),
        0, lane(thread));
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int f = 0; f < kRowFragments; ++f) load_flat_rows(left[step][f], flat, step, f);
    }
  }
  __device__ __forceinline__ void multiply_tap(int tap, const Left (&left)[kSteps][kRowFragments],
                                               const Right& right) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int c = 0; c < kWarpChunks; ++c) {
#pragma unroll
        for (int f = 0; f < kRowFragments; ++f) {
          multiply_add(sums_[f][tap * kWarpChunks + c], left[step][f], right.at[c][step]);
        }
      }
    }
  }

  /// Adds the sums of the warps that share columns, in their order; each of them gets every warps_k-th
  /// fragment of the total.
  __device__ __forceinline__ void share_out(float (&totals)[kOwn][1][4]) const {
    const int column_lane = warp_n(thread()) * 32 + lane(thread());
    constexpr int kLanes = 32 * kTile.warps_n;
    float4* const memory = reinterpret_cast<float4*>(shared_);
#pragma unroll
    for (int first = 0; first < kFragments; first += kRound) {
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kRound; ++i) {
        if (first + i >= kFragments) continue;
        const float(&sum)[4] = sums_[(first + i) / kColumnFragments][(first + i) % kColumnFragments];
        memory[(i * kTile.warps_k + warp_k(thread())) * kLanes + column_lane] =
            make_float4(sum[0], sum[1], sum[2], sum[3]);
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kOwnOfRound; ++i) {
        const int fragment = i * kTile.warps_k + warp_k(thread());
        float4 total = make_float4(0, 0, 0, 0);
        for (int k = 0; k < kTile.warps_k; ++k) {
          if (first + fragment >= kFragments) continue;
          const float4 part = memory[(fragment * kTile.warps_k + k) * kLanes + column_lane];
          total.x += part.x, total.y += part.y, total.z += part.z, total.w += part.w;
        }
        float(&own)[4] = totals[first / kTile.warps_k + i][0];
        own[0] = total.x, own[1] = total.y, own[2] = total.z, own[3] = total.w;
      }
    }
  }

  /// Where the first of this thread's four sums in fragment `own` belongs: the others are one channel, eight
  /// rows and both further. No channel is that far where there is no fragment.
  struct Place {
    int row, tap, channel;
  };
  __device__ __forceinline__ Place place_of(int own) const {
    const int fragment = own * kTile.warps_k + warp_k(thread());
    const int column = fragment % kColumnFragments,
              chunk = warp_n(thread()) * kWarpChunks + column % kWarpChunks;
    return {part_.first_row + fragment / kColumnFragments * 16 + lane(thread()) / 4, column / kWarpChunks,
            fragment < kFragments ? first_channel_ + chunk * kChunk<T> + lane(thread()) % 4 * 2 : g_.depth_c};
  }
  __device__ __forceinline__ void store(const Place& at, const float (&sums)[4]) const {
    float* const to = arrays_.d_weight + int64_t{at.row} * g_.columns + at.tap * g_.depth_c + at.channel;
    *reinterpret_cast<float2*>(to) = make_float2(sums[0], sums[1]);
    if (at.row + 8 >= g_.rows) return;
    *reinterpret_cast<float2*>(to + int64_t{8} * g_.columns) = make_float2(sums[2], sums[3]);
  }

  const FilterGeometry& g_;
  const FilterArrays& arrays_;
  FilterPart part_;
  unsigned char* shared_;
  int first_channel_, first_pixel_;
  Rows rows_;
  Ring ring_;
  float sums_[kRowFragments][kColumnFragments][4];
};

}  // namespace residuum::kernels
