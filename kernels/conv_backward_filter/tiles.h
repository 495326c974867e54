// Which tile backward-filter runs with, and into how many pieces it cuts its sum over pixels: pure constexpr
// functions of the problem, with the reason of each number, as conv/tiles.h has them for the other passes.
#pragma once

#include <algorithm>

#include "kernels/conv/tiles.h"
#include "kernels/sum_tree.h"

namespace residuum::kernels {

/// Output pixels of a run of kFilterLines (conv_backward_filter/lines.cuh): two runs are a step. 112, 56 and
/// 48 pixels are whole runs.
inline constexpr int kFilterRun = 16;
/// Shared memory for the segments of a step: a chunk for each of 256 threads, and gaps.
inline constexpr int kSegmentBytes = (256 + 2 * 8) * 16;
/// Columns of a line of the kernel, in whole chunks.
constexpr int64_t filter_line_columns(const ConvShape& s) {
  return (s.s * s.c + 7) / 8 * 8;
}
/// Chunks of a segment: up to seven elements before a run's first one, all columns of its last pixel, and one
/// element more to fill a word.
constexpr int64_t filter_segment_chunks(const ConvShape& s) {
  return (7 + (kFilterRun - 1) * s.stride * s.c + filter_line_columns(s) + 1 + 7) / 8;
}
constexpr bool suits_lines(const ConvProblem& problem) {
  const ConvShape& s = problem.shape;
  return has_whole_rows(problem) && s.groups == 1 && !is_aligned(problem) && s.src_elements() % 8 == 0 &&
         s.r * filter_line_columns(s) <= tile_of(TileName::kFilterLines).columns &&
         2 * s.r * filter_segment_chunks(s) <= tile_of(TileName::kFilterLines).threads();
}

/// kFilterTaps and its like: blocks have all taps of 3x3 kernels of stride 1 or 2 with padding 1.
inline constexpr int kFilterTapsCount = 9;
constexpr bool has_all_taps(TileName name) {
  return name >= TileName::kFilterTaps && name <= TileName::kFilterTapsStrided;
}
constexpr int taps_stride(TileName name) {
  return name == TileName::kFilterTapsStrided ? 2 : 1;
}
/// Steps of source pixels that are in shared memory at once: those that are being copied, and those that a
/// step reads, besides its own two or, with stride 2, one: lines of up to 63 pixels in steps of 64.
constexpr int filter_ring_steps(TileName name) {
  return steps_ahead(tile_of(name)) + (taps_stride(name) == 2 ? 2 : 3);
}
/// Steps of source pixels that a step reads besides its own, of output lines of `width` pixels: the farthest
/// taps are a line and a pixel before it and, with stride 1, behind it.
constexpr int filter_halo_steps(int width, int stride, int depth) {
  return ((stride == 1 ? 2 : 1) * (width + 1) + depth - 1) / depth;
}
constexpr bool suits_taps(const ConvProblem& problem, TileName name) {
  const ConvShape& s = problem.shape;
  const Tile tile = tile_of(name);
  const auto fits = [&] {
    return filter_halo_steps(static_cast<int>(s.q()), taps_stride(name), tile.depth) + 1 +
               steps_ahead(tile) <=
           filter_ring_steps(name);
  };
  return is_aligned(problem) && s.groups == 1 && s.r == 3 && s.s == 3 && s.pad == 1 &&
         s.stride == taps_stride(name) && fits();
}

/// Layers that a launch with this tile may compute.
constexpr int most_filter_layers(TileName name) {
  return has_all_taps(name) ? 8 : 1;
}

/// Whether backward-filter can run the problem with that tile.
constexpr bool filter_tile_suits(const ConvProblem& problem, TileName tile) {
  if (problem.layers > most_filter_layers(tile)) return false;
  if (tile == TileName::kFilterF32) return problem.type == Element::kF32;
  if (problem.type == Element::kF32) return false;
  if (tile == TileName::kFilterPacked) return true;
  if (tile == TileName::kFilterPackedColumns) return has_whole_rows(problem);
  if (tile == TileName::kFilterLines) return suits_lines(problem);
  if (has_all_taps(tile)) return suits_taps(problem, tile);
  return tile >= TileName::kFilterWide && tile <= TileName::kFilterSlim && is_aligned(problem);
}

/// The result of backward-filter as its blocks cut it: a matrix for each group of each layer, in tiles.
struct FilterTiles {
  int64_t rows = 0, columns = 0;  ///< of a group's matrix; kFilterLines: with those between kernel lines
  int64_t matrices = 0;
  int64_t tiles = 0;  ///< of all matrices
  int64_t steps = 0;  ///< of the sum over pixels

  /// Floats of partial sums that all blocks of one piece leave: whole fragments of a thread, which are rows r
  /// and r + 8 of columns c and c + 1.
  constexpr int64_t partial_floats() const {
    const int64_t last = rows % 16 < 8 ? rows % 16 : 8;
    return matrices * (rows / 16 * 16 + 2 * last) * (columns + columns % 2);
  }
};
constexpr FilterTiles filter_tiles(const ConvProblem& problem, TileName name) {
  const ConvShape& s = problem.shape;
  const Tile tile = tile_of(name);
  const auto parts = [](int64_t extent, int size) { return (extent + size - 1) / size; };
  FilterTiles all;
  all.rows = s.k / s.groups;
  const bool lines = name == TileName::kFilterLines;
  all.columns = lines ? s.r * filter_line_columns(s) : s.r * s.s * (s.c / s.groups);
  all.matrices = s.groups * problem.layers;
  all.tiles = parts(all.rows, tile.rows) * parts(all.columns, tile.columns) * all.matrices;
  all.steps =
      lines ? parts(s.n * s.p() * parts(s.q(), kFilterRun), 2) : parts(s.n * s.p() * s.q(), tile.depth);
  return all;
}
/// Fragments of four sums that a thread has when warps that share the terms have shared their sums out.
constexpr int filter_fragments(const Tile& tile) {
  const int fragments = tile.warp_rows() / 16 * (tile.warp_columns() / 8);
  return (fragments + tile.warps_k - 1) / tile.warps_k;
}
/// Floats of a block's partial sums.
constexpr int64_t filter_slot_floats(const Tile& tile) {
  return int64_t{4} * filter_fragments(tile) * tile.threads();
}

/// Traffic of the partial sums when the sum is cut in `pieces`.
constexpr WorkspaceTraffic filter_traffic(const ConvProblem& problem, TileName name, int pieces) {
  const int64_t bytes = static_cast<int64_t>(sizeof(float)) * filter_tiles(problem, name).partial_floats();
  const SumTree tree = sum_tree(pieces);
  return {tree.slots * bytes, tree.reads() * bytes};
}

/// What decides into how many pieces a sum is cut, in hundredths of a microsecond: a step of the sum; the
/// levels of the tree, each a store, fence, atomic and load that follow each other through L2; and how many
/// steps a piece must have, as a shorter one spends its time filling the pipeline.
struct FilterTimes {
  int64_t step = 0, level = 0, member = 0, fewest_steps = 0;
};
constexpr FilterTimes filter_times(TileName name) {
  switch (name) {
    // Estimates: 576 mma of a multiprocessor a step, and a fifth more for warps to begin and end it; the slim
    // tile has 288 and waits for shared memory instead. One multiprocessor reads the partial sums of all
    // members of a group, half a kilobyte in ten cycles.
    case TileName::kFilterTaps:
      return {60, 200, 85, 4};
    case TileName::kFilterTapsBroad:
      return {64, 200, 42, 4};
    case TileName::kFilterTapsSlim:
      return {50, 200, 11, 4};
    // As long as L2 takes for four source pixels and a formed gradient.
    case TileName::kFilterTapsStrided:
      return {75, 200, 85, 4};
    default:
      return {10, 320, 0, 8};
  }
}

/// Bytes that backward-filter reads of a layer.
constexpr int64_t filter_operand_bytes(const ConvProblem& problem) {
  const ConvShape& s = problem.shape;
  return (s.src_elements() + s.dst_elements()) * static_cast<int64_t>(size_of(problem.type));
}

/// How a sum over pixels is cut: into as many pieces as make the slowest block finish first.
struct FilterCut {
  int pieces = 1;
  int64_t time = 0;
};
/// The cut that takes the shortest time by filter_times(), with no more blocks than are resident at once,
/// which keep the copies of one under way while the other multiplies. Partial sums pass through L2 at about
/// 512 KB in a tenth of a microsecond. Nobody multiplies meanwhile, and those of large layers do not stay in
/// L2: they may not be more bytes than the operands.
constexpr FilterCut filter_cut(const ConvProblem& problem, TileName name) {
  constexpr int64_t kTenthBytes = 512 * 1024;
  const FilterTimes times = filter_times(name);
  const FilterTiles all = filter_tiles(problem, name);
  const int64_t blocks = tile_of(name).blocks * kMultiprocessors;
  const int64_t operands = problem.layers * filter_operand_bytes(problem);
  const int64_t most = std::min(blocks / all.tiles, all.steps / times.fewest_steps);
  FilterCut best{1, (all.tiles + blocks - 1) / blocks * all.steps * times.step};
  for (int pieces = 2; pieces <= most; ++pieces) {
    const WorkspaceTraffic traffic = filter_traffic(problem, name, pieces);
    const int64_t bytes = traffic.written + traffic.read;
    if (bytes > operands) break;
    int64_t time =
        (all.steps + pieces - 1) / pieces * times.step + (bytes + kTenthBytes - 1) / kTenthBytes * 10;
    for (int members = pieces; members > 1; members = sum_groups(members)) {
      time += times.level + std::min(members, kSumRadix) * times.member;
    }
    if (time < best.time) best = {pieces, time};
  }
  return best;
}

/// The tile of backward-filter for chunks of 16-bit types: all taps at once where one of those tiles suits.
constexpr TileName aligned_filter_tile(const ConvProblem& problem) {
  TileName best = TileName::kFilterTaps;
  int64_t shortest = 0;
  for (const TileName name : {TileName::kFilterTaps, TileName::kFilterTapsBroad, TileName::kFilterTapsSlim}) {
    if (!suits_taps(problem, name)) continue;
    const int64_t time = filter_cut(problem, name).time;
    if (shortest == 0 || time < shortest) best = name, shortest = time;
  }
  if (shortest > 0) return best;
  const int64_t rows = problem.shape.k / problem.shape.groups;
  if (rows > 32 && suits_taps(problem, TileName::kFilterTapsStrided)) return TileName::kFilterTapsStrided;
  const int64_t columns = problem.shape.r * problem.shape.s * (problem.shape.c / problem.shape.groups);
  if (rows <= 32) return TileName::kFilterSlim;
  if (rows % 128 == 0 && columns % 128 == 0) return TileName::kFilterWide;
  return rows <= 64 && columns > 256 ? TileName::kFilterBroad : TileName::kFilterSquare;
}
/// The tile of backward-filter: the one the problem names, or the usual one.
constexpr TileName filter_tile(const ConvProblem& problem) {
  if (problem.tile >= 0) return static_cast<TileName>(problem.tile);
  if (problem.type == Element::kF32) return TileName::kFilterF32;
  if (is_aligned(problem)) return aligned_filter_tile(problem);
  // One tile of packed columns reads d_dst once, too.
  const ConvShape& s = problem.shape;
  const bool one_tile = s.r * s.s * s.c <= tile_of(TileName::kFilterPackedColumns).columns;
  if (!one_tile && suits_lines(problem)) return TileName::kFilterLines;
  return has_whole_rows(problem) ? TileName::kFilterPackedColumns : TileName::kFilterPacked;
}

/// How many layers like the problem's one launch should compute: the fewest that take nearly as short a time
/// for each as any number would. What they read has to be kept for the last of them.
constexpr int filter_layers(const ConvProblem& problem) {
  constexpr int64_t kMostKeptBytes = int64_t{64} << 20;
  const auto time_of = [&](int layers) {
    ConvProblem several = problem;
    several.layers = layers;
    return filter_cut(several, filter_tile(several)).time;
  };
  int most = most_filter_layers(filter_tile(problem));
  while (most > 1 && (most - 1) * filter_operand_bytes(problem) > kMostKeptBytes) --most;
  const auto is_longer = [&](int one, int other) {
    return 20 * time_of(one) * other > 21 * time_of(other) * one;
  };
  int best = 1;
  for (int layers = 2; layers <= most; ++layers) {
    if (is_longer(best, layers)) best = layers;
  }
  return best;
}

constexpr FilterTiles filter_tiles(const ConvProblem& problem) {
  return filter_tiles(problem, filter_tile(problem));
}
/// Pieces into which backward-filter cuts its sum over pixels.
constexpr int filter_pieces(const ConvProblem& problem) {
  return filter_cut(problem, filter_tile(problem)).pieces;
}
constexpr WorkspaceTraffic filter_traffic(const ConvProblem& problem, int pieces) {
  return filter_traffic(problem, filter_tile(problem), pieces);
}

}  // namespace residuum::kernels
