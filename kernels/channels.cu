// Operations that only move channels: concatenation, slices, the option-A shortcut, and their adjoints. All
// of them copy a run of channels from a row of the source into a row of the destination, so they work on bits
// of the element's size.
#include "kernels/device/pool_window.cuh"

namespace residuum::kernels {
namespace {

/// Which row of the source a row of the destination is copied from; negative: none, it becomes 0.
struct SameRow {
  __device__ __forceinline__ int64_t operator()(int64_t row) const { return row; }
};
/// Pixel (p, q) comes from pixel (stride p, stride q).
struct EveryStrideth {
  PoolWindow grid;
  __device__ __forceinline__ int64_t operator()(int64_t row) const {
    const PoolWindow::Pixel at = grid.dst_pixel(row);
    return (at.image * grid.h + at.row * grid.stride) * grid.w + at.column * grid.stride;
  }
};
/// Its adjoint: pixel (h, w) comes from (h / stride, w / stride) where both are whole.
struct Spread {
  PoolWindow grid;
  __device__ __forceinline__ int64_t operator()(int64_t row) const {
    const PoolWindow::Pixel at = grid.src_pixel(row);
    const Divider::Parts p = grid.by_stride.split(static_cast<uint32_t>(at.row));
    const Divider::Parts q = grid.by_stride.split(static_cast<uint32_t>(at.column));
    if (p.remainder != 0 || q.remainder != 0) return -1;
    return (at.image * grid.p + p.quotient) * grid.q + q.quotient;
  }
};

/// The channels [first, first + count) of a dst row come from channel src_first on of its source row; with
/// the walk over channels [walk_first, ...) of dst, those outside become 0.
template <typename Bits, bool kWholeUnits, typename RowMap>
struct CopyRows {
  static constexpr int kVectors = 0;
  const Bits* src;
  Bits* dst;
  int64_t src_channels, src_first, dst_channels, dst_first, count, walk_first;
  RowMap source_of;

  template <typename Vectors>
  __device__ __forceinline__ void row(const RowSpan& span, int64_t row, const Vectors&) const {
    const int64_t channel = walk_first + span.channel;
    const int64_t from = channel - dst_first;  // channel of the run
    const int64_t src_row = source_of(row);
    const Bits* const start = src + src_row * src_channels + src_first;
    Pack<Bits> pack{};
    if constexpr (kWholeUnits) {
      if (src_row >= 0 && from >= 0 && from < count) pack = load_pack<true>(start + from, kUnit);
    } else {
#pragma unroll
      for (int i = 0; i < kUnit; ++i) {
        if (i < span.count && src_row >= 0 && from + i >= 0 && from + i < count) pack.at[i] = start[from + i];
      }
    }
    store_pack<kWholeUnits>(pack, dst + row * dst_channels + channel, span.count);
  }
};

/// A copy of `rows` rows of dst.
template <typename RowMap>
void copy_rows(const char* name, int64_t rows, const CopyChannelsArgs& args, const RowMap& row_map,
               Stream stream) {
  require_positive(name, "rows", rows);
  require_positive(name, "count", args.count);
  require_addresses(name, {args.src, args.dst});
  require(args.src_first >= 0 && args.src_first + args.count <= args.src_channels, name,
          "the run of channels does not fit in src");
  require(args.dst_first >= 0 && args.dst_first + args.count <= args.dst_channels, name,
          "the run of channels does not fit in dst");
  const int64_t walk_first = args.zero_rest ? 0 : args.dst_first;
  const int64_t walk = args.zero_rest ? args.dst_channels : args.count;
  const bool whole =
      (args.src_channels | args.src_first | args.dst_channels | args.dst_first | args.count) % kUnit == 0;
  const auto run = [&](auto bits, auto flag) {
    using Bits = decltype(bits);
    const CopyRows<Bits, flag.value, RowMap> policy{static_cast<const Bits*>(args.src),
                                                    static_cast<Bits*>(args.dst),
                                                    args.src_channels,
                                                    args.src_first,
                                                    args.dst_channels,
                                                    args.dst_first,
                                                    args.count,
                                                    walk_first,
                                                    row_map};
    map_rows(name, rows, walk, policy, stream);
  };
  with_flag(whole, [&](auto flag) {
    if (size_of(args.type) == 4) {
      run(uint32_t{}, flag);
    } else {
      run(uint16_t{}, flag);
    }
  });
}

/// The pixels of a shortcut as those of a pool with a window of one.
PoolWindow pixels_of(const char* name, const ShortcutShape& s) {
  const PoolShape shape{s.n, s.h, s.w, s.c, 1, s.stride, 0};
  require_pool(name, shape);
  return PoolWindow(shape);
}

}  // namespace

void copy_channels(const CopyChannelsArgs& args, Stream stream) {
  copy_rows("copy_channels", args.rows, args, SameRow{}, stream);
}

void shortcut_a(const ShortcutShape& s, Element type, const void* src, void* dst, Stream stream) {
  constexpr const char* kName = "shortcut_a";
  const PoolWindow pixels = pixels_of(kName, s);
  copy_rows(kName, s.n * s.p() * s.q(), {0, s.c, s.c, 0, s.k, s.first, type, src, dst, true},
            EveryStrideth{pixels}, stream);
}

void shortcut_a_backward(const ShortcutShape& s, Element type, const void* d_dst, void* d_src,
                         Stream stream) {
  constexpr const char* kName = "shortcut_a_backward";
  const PoolWindow pixels = pixels_of(kName, s);
  copy_rows(kName, s.n * s.h * s.w, {0, s.c, s.k, s.first, s.c, 0, type, d_dst, d_src, true}, Spread{pixels},
            stream);
}

}  // namespace residuum::kernels
