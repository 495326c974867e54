// A convolution as its kernels see it. Forward and backward-data are the same sum: an output pixel collects,
// over a rectangle of taps, the channels of one source pixel each, times a slice of the weights.
// Backward-data with stride s falls apart into s*s parity classes of output pixels, each with its own taps.
#pragma once

#include <algorithm>

#include "kernels/conv/tiles.h"
#include "kernels/shapes.h"

namespace residuum::kernels {

/// One rectangle of taps. Tap (i, j) of grid pixel (y, x) reads source pixel (y * src_stride + first_h + i *
/// step, x * src_stride + first_w + j * step) and weight element (first_r + i * r_step, first_s + j *
/// r_step); the result goes to pixel (y * dst_stride + offset_h, x * dst_stride + offset_w).
struct TapGrid {
  int grid_h = 0, grid_w = 0;  ///< output pixels
  int taps_h = 0, taps_w = 0;
  int first_h = 0, first_w = 0, step = 1;
  int first_r = 0, first_s = 0, r_step = 1;
  int src_stride = 1, dst_stride = 1, offset_h = 0, offset_w = 0;

  constexpr int taps() const { return taps_h * taps_w; }
  constexpr int lowest_h() const { return step > 0 ? first_h : first_h - (taps_h - 1); }
  constexpr int lowest_w() const { return step > 0 ? first_w : first_w - (taps_w - 1); }
};

struct ConvGeometry {
  int n = 0;
  int src_h = 0, src_w = 0, src_c = 0;  ///< the tensor that is read (backward-data: d_dst)
  int dst_h = 0, dst_w = 0, dst_c = 0;
  int depth = 0;    ///< channels of a group summed for each tap; packed: of a whole row of taps
  int columns = 0;  ///< channels of a group written
  int weight_pitch = 0, weight_tap = 0;  ///< elements of one weight row R*S*(C/groups), and of one tap of it
  int kernel_h = 0, kernel_w = 0, stride = 1, pad = 0, groups = 1;
  bool backward_data = false;
  /// A kernel row's taps and channels are contiguous in source and weights: one tap of S*C "channels".
  bool packed = false;
  Patch patch = Patch::kGather;
  int patch_rows = 0;  ///< of a patch for all taps: the source pixels in a row that a tile's taps touch
  int patch_slots = 0;
  int weight_slots =
      0;  ///< tiles of weights in shared memory: those of all steps of a tile of rows, or a ring
  Form form = Form::kStored;
  int formed = 0;              ///< channels of a group that are formed: the last of `depth`
  int run = 1;                 ///< tiles of rows that a block handles, one after the other
  bool early_weights = false;  ///< ConvProblem::early_weights

  constexpr int classes() const { return backward_data ? stride * stride : 1; }
  /// Grid pixels of a parity class.
  constexpr int rows(int parity) const {
    const TapGrid t = taps(parity);
    return n * t.grid_h * t.grid_w;
  }
  /// Blocks below each other that share a class; also the parts of its sums.
  constexpr int parts(int parity, int tile_rows) const {
    const int64_t step = int64_t{run} * tile_rows;
    return static_cast<int>((rows(parity) + step - 1) / step);
  }
  /// Parts of the classes before `parity`.
  constexpr int first_part(int parity, int tile_rows) const {
    int sum = 0;
    for (int before = 0; before < parity; ++before) sum += parts(before, tile_rows);
    return sum;
  }
  constexpr int column_tiles(int tile_columns) const { return (columns + tile_columns - 1) / tile_columns; }

  constexpr TapGrid taps(int parity) const { return backward_data ? backward_taps(parity) : forward_taps(); }
  constexpr TapGrid forward_taps() const {
    return {dst_h, dst_w, kernel_h, packed ? 1 : kernel_w, -pad, -pad, 1, 0, 0, 1, stride, 1, 0, 0};
  }
  constexpr TapGrid backward_taps(int parity) const {
    TapGrid t;
    const int a = parity / stride, b = parity % stride;
    const auto count = [this](int first, int extent) {
      return first < extent ? (extent - 1 - first) / stride + 1 : 0;
    };
    t.first_r = (a + pad) % stride;
    t.first_s = (b + pad) % stride;
    t.taps_h = count(t.first_r, kernel_h);
    t.taps_w = count(t.first_s, kernel_w);
    t.first_h = (a + pad - t.first_r) / stride;
    t.first_w = (b + pad - t.first_s) / stride;
    t.step = -1;
    t.r_step = stride;
    t.dst_stride = stride;
    t.offset_h = a;
    t.offset_w = b;
    t.grid_h = count(a, dst_h);
    t.grid_w = count(b, dst_w);
    return t;
  }
};

/// The source pixels between the lowest and the highest one that a tile of `rows` consecutive grid pixels
/// touches: the largest over all tiles.
constexpr int patch_rows(const ConvGeometry& g, const TapGrid& t, int rows) {
  const int64_t pixels = int64_t{t.grid_h} * t.grid_w, all = pixels * g.n;
  if (all == 0 || t.taps() == 0) return 0;
  const auto base = [&](int64_t m) {
    const int64_t image = m / pixels, y = m % pixels / t.grid_w, x = m % t.grid_w;
    return (image * g.src_h + y * t.src_stride) * g.src_w + x * t.src_stride;
  };
  int64_t span = 0;
  for (int64_t m = 0; m < all; m += rows) {
    span = std::max(span, base(std::min(m + rows, all) - 1) - base(m));
  }
  return static_cast<int>(span + (t.taps_h - 1) * int64_t{g.src_w} + t.taps_w);
}

constexpr OperandRoom operand_room(const ConvGeometry& g) {
  return {static_cast<size_t>(g.patch_rows) * static_cast<size_t>(g.patch_slots),
          static_cast<size_t>(g.weight_slots), g.patch};
}
constexpr size_t conv_work_bytes(const ConvGeometry& g, const Tile& tile, size_t element) {
  return conv_work_bytes(tile, element, g.form, operand_room(g));
}
constexpr size_t conv_shared_bytes(const ConvGeometry& g, const Tile& tile, size_t element) {
  return conv_block_bytes(tile, element, g.form, operand_room(g), g.formed, int64_t{g.kernel_h} * g.kernel_w);
}

constexpr size_t conv_result_bytes(const ConvGeometry& g, const Tile& tile) {
  return conv_result_bytes(tile, g.backward_data, g.patch);
}

/// The convolution without its patches.
constexpr ConvGeometry plain_geometry(const ConvProblem& problem, ConvPass pass) {
  const ConvShape& s = problem.shape;
  const bool backward_data = pass == ConvPass::kBackwardData;
  const auto whole = [](int64_t value) { return static_cast<int>(value); };
  const int c = whole(s.c / s.groups);
  ConvGeometry g;
  g.n = whole(s.n);
  g.src_h = whole(backward_data ? s.p() : s.h);
  g.src_w = whole(backward_data ? s.q() : s.w);
  g.src_c = whole(backward_data ? s.k : s.c);
  g.dst_h = whole(backward_data ? s.h : s.p());
  g.dst_w = whole(backward_data ? s.w : s.q());
  g.dst_c = whole(backward_data ? s.c : s.k);
  g.depth = whole(conv_depth(problem, pass));
  g.columns = whole(conv_columns(problem, pass));
  g.weight_pitch = whole(s.r * s.s) * c;
  g.weight_tap = c;
  g.kernel_h = whole(s.r);
  g.kernel_w = whole(s.s);
  g.stride = whole(s.stride);
  g.pad = whole(s.pad);
  g.groups = whole(s.groups);
  g.backward_data = backward_data;
  g.packed = !is_aligned(problem) && !backward_data && s.groups == 1;
  if (g.packed) g.depth = g.kernel_w * c;
  return g;
}

/// `gather` with one patch for all taps where that can pay: several taps read each source pixel. With more
/// output than source pixels (much padding), the pixels of a tile would not follow each other in memory.
constexpr ConvGeometry with_halo(const ConvGeometry& gather, const Tile& tile) {
  if (!gather.backward_data && gather.stride > 1) return gather;
  int rows = 0, most = 0, fewest = 1 << 30;
  for (int parity = 0; parity < gather.classes(); ++parity) {
    const TapGrid t = gather.taps(parity);
    if (t.taps() == 0) continue;
    if (t.grid_w > gather.src_w || t.grid_h > gather.src_h) return gather;
    rows = std::max(rows, patch_rows(gather, t, tile.rows));
    most = std::max(most, t.taps());
    fewest = std::min(fewest, t.taps());
  }
  if (most < 3) return gather;
  ConvGeometry halo = gather;
  halo.patch = Patch::kHalo;
  halo.patch_rows = rows + rows % 2;  // coefficients, which come behind, stay aligned to 128 bytes
  halo.patch_slots = 1 + (steps_ahead(tile) + fewest - 1) / fewest;
  return halo;
}

/// `halo` with the weights of all taps beside the patch: they are read once, and nobody waits for others
/// between taps.
constexpr ConvGeometry with_all_weights(const ConvGeometry& halo, const Tile& tile, int patch_slots) {
  int taps = 1;
  for (int parity = 0; parity < halo.classes(); ++parity) taps = std::max(taps, halo.taps(parity).taps());
  ConvGeometry resident = halo;
  resident.patch = Patch::kResident;
  resident.patch_slots = patch_slots;
  resident.weight_slots = (halo.depth + tile.depth - 1) / tile.depth * taps;
  return resident;
}

/// `gather`, or what is better and fits: one patch for all taps and beside it all weights, with two patches
/// if possible, one of which is loaded while the other is multiplied; or one patch and a ring of weights. A
/// launch of a block a multiprocessor has much room.
constexpr ConvGeometry with_best_patch(const ConvGeometry& gather, const Tile& tile, size_t element) {
  const ConvGeometry halo = with_halo(gather, tile);
  if (halo.patch == Patch::kGather) return gather;
  const auto fits = [&](const ConvGeometry& g, size_t room) {
    return conv_shared_bytes(g, tile, element) + conv_result_bytes(g, tile) <= room;
  };
  if (may_keep_weights(tile)) {
    int64_t blocks = 0;
    for (int parity = 0; parity < halo.classes(); ++parity) blocks += halo.parts(parity, tile.rows);
    blocks *= int64_t{halo.column_tiles(tile.columns)} * halo.groups;
    const size_t room = blocks <= kMultiprocessors ? kLoneSharedBytes : kSharedBytes;
    for (int patch_slots = 2; patch_slots > 0; --patch_slots) {
      const ConvGeometry resident = with_all_weights(halo, tile, patch_slots);
      if (fits(resident, room)) return resident;
    }
  }
  return !wants_all_weights(tile) && fits(halo, kSharedBytes) ? halo : gather;
}

/// Blocks of a launch that a multiprocessor holds at once.
constexpr int64_t resident_blocks(const ConvGeometry& g, const Tile& tile, size_t element) {
  const size_t bytes = conv_shared_bytes(g, tile, element) + conv_result_bytes(g, tile) + kBlockReserve;
  const int64_t by_memory = static_cast<int64_t>(kMultiprocessorBytes / bytes);
  return std::min(int64_t{tile.blocks}, by_memory);
}

/// Tiles of rows for one block, so that the chip is full and blocks end at the same time: of one, two, ...
/// waves of blocks the one that takes the shortest time, counted in taps of a tile. Fewer waves on a tie:
/// fewer parts of sums, and less often the same coefficients; more than a few hundred parts never. Parity
/// classes differ in their taps: blocks that have few leave their places to others, and the last to end has
/// most.
constexpr int tiles_in_a_run(const ConvGeometry& g, const Tile& tile, size_t element) {
  constexpr int64_t kMostWaves = 8, kMostParts = 400;
  int64_t tiles = 0, work = 0, most_taps = 1;
  for (int parity = 0; parity < g.classes(); ++parity) {
    const int64_t own = (int64_t{g.rows(parity)} + tile.rows - 1) / tile.rows;
    const int64_t taps = std::max(1, g.taps(parity).taps());
    tiles = std::max(tiles, own);
    work += own * taps;
    most_taps = std::max(most_taps, taps);
  }
  const int64_t columns = int64_t{g.column_tiles(tile.columns)} * g.groups, beside = columns * g.classes();
  const int64_t wave = kMultiprocessors * resident_blocks(g, tile, element);
  int64_t best = 0, best_time = 0;
  for (int64_t waves = 1; waves <= kMostWaves; ++waves) {
    const int64_t below = std::max<int64_t>(1, waves * wave / beside);
    if (waves > 1 && below * g.classes() > kMostParts) break;
    const int64_t run = std::max<int64_t>(1, (tiles + below - 1) / below);
    const int64_t blocks = (tiles + run - 1) / run * beside;
    const int64_t time = g.classes() == 1 ? (blocks + wave - 1) / wave * run * most_taps
                                          : work * columns / wave + run * most_taps;
    if (best == 0 || time < best_time) best = run, best_time = time;
  }
  return static_cast<int>(best);
}

constexpr ConvGeometry conv_geometry(const ConvProblem& problem, ConvPass pass, Form form) {
  const Tile tile = tile_of(conv_tile(problem, pass, form));
  const size_t element = size_of(problem.type);
  ConvGeometry g = plain_geometry(problem, pass);
  g.form = form;
  g.formed = static_cast<int>(conv_formed(problem, pass, form));
  g.patch_rows = tile.rows;
  g.patch_slots = tile.stages;
  g.weight_slots = tile.stages;
  if (is_aligned(problem)) {
    g = with_best_patch(g, tile, element);
  } else {
    g.patch = Patch::kElements;
  }
  g.run = tiles_in_a_run(g, tile, element);
  g.early_weights = problem.early_weights;
  return g;
}

/// Parts of the sums of a channel.
constexpr int conv_parts(const ConvGeometry& g, const Tile& tile) {
  return g.first_part(g.classes(), tile.rows);
}

}  // namespace residuum::kernels
