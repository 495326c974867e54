// A convolution as the kernels of backward-filter see it: extents in 32 bits (check_conv makes sure that they
// fit), and how the sum over output pixels is cut. Plain C++.
#pragma once

#include "kernels/conv_backward_filter/tiles.h"
#include "kernels/device/divider.h"
#include "kernels/sum_tree.h"

namespace residuum::kernels {

/// Floats of the workspace that hold partial sums of tiles, layer by layer; those of a bias lie behind them.
constexpr int64_t filter_partial_floats(const ConvProblem& problem) {
  const Tile tile = tile_of(filter_tile(problem));
  return filter_tiles(problem).tiles * sum_tree(filter_pieces(problem)).slots * filter_slot_floats(tile);
}

/// How a tap's place in the source moves when its output pixel moves `pixels` further: so many columns, rows
/// and pixels; then, past the end of a line of output (`line_w` columns), or of an image (`image_h` rows), on
/// to the next one.
struct FilterAdvance {
  int w = 0, h = 0, line_w = 0, image_h = 0;
  int pixel = 0, next_line = 0, next_image = 0;
};

/// What kFilterLines needs besides (conv_backward_filter/lines.cuh).
struct FilterLines {
  int kernel_h = 0;
  int elements = 0, columns = 0;           ///< of a line of the kernel, in the weights and in the product
  int segment_chunks = 0, run_chunks = 0;  ///< from one run to the next lies half a sweep of all banks
  int src_line = 0, dst_w = 0, runs = 0;   ///< elements of a source line; pixels of a line; runs of all lines
  int64_t src_chunks = 0;                  ///< of the whole source
  Divider run, image, column;  ///< by runs of a line, by lines of an image, by columns of a kernel line

  FilterLines() = default;
  explicit FilterLines(const ConvShape& s) {
    const auto whole = [](int64_t value) { return static_cast<int>(value); };
    kernel_h = whole(s.r);
    elements = whole(s.s * s.c), columns = whole(filter_line_columns(s));
    segment_chunks = whole(filter_segment_chunks(s));
    run_chunks = kernel_h * segment_chunks;
    while (run_chunks % 8 != 4) ++run_chunks;
    src_line = whole(s.w * s.c), dst_w = whole(s.q());
    const int64_t of_line = (s.q() + kFilterRun - 1) / kFilterRun;
    runs = whole(s.n * s.p() * of_line);
    src_chunks = s.src_elements() / 8;
    run = Divider(of_line), image = Divider(s.p()), column = Divider(columns);
  }
};

struct FilterGeometry {
  int src_h = 0, src_w = 0, src_c = 0, dst_c = 0;
  unsigned src_pitch = 0, dst_pitch = 0;  ///< bytes of a pixel
  int dst_h = 0, dst_w = 0;
  int kernel_w = 0, stride = 1, pad = 0;
  int rows = 0, columns = 0, depth_c = 0;  ///< of one group: output channels; r*s*c; input channels
  int weight_columns = 0;                  ///< of the weights of a group, where the product has more
  int src_pixels = 0, pixels = 0, pieces = 1, steps = 0, steps_per_piece = 0;
  SumTree tree;           ///< of the pieces of one tile
  Divider image, line;    ///< by p*q, by q
  FilterAdvance advance;  ///< of the chunks of columns that a thread copies one after another
  FilterLines lines;

  FilterGeometry(const ConvProblem& problem, const Tile& tile) {
    const ConvShape& s = problem.shape;
    const auto whole = [](int64_t value) { return static_cast<int>(value); };
    src_h = whole(s.h), src_w = whole(s.w), src_c = whole(s.c), dst_c = whole(s.k);
    src_pitch = static_cast<unsigned>(s.c) * static_cast<unsigned>(size_of(problem.type));
    dst_pitch = static_cast<unsigned>(s.k) * static_cast<unsigned>(size_of(problem.type));
    dst_h = whole(s.p()), dst_w = whole(s.q());
    kernel_w = whole(s.s), stride = whole(s.stride), pad = whole(s.pad);
    rows = whole(s.k / s.groups), depth_c = whole(s.c / s.groups);
    weight_columns = whole(s.r * s.s) * depth_c;
    const FilterTiles tiles = filter_tiles(problem);
    columns = whole(tiles.columns), steps = whole(tiles.steps);
    if (filter_tile(problem) == TileName::kFilterLines) lines = FilterLines(s);
    pixels = whole(s.n * s.p() * s.q());
    pieces = filter_pieces(problem);
    tree = sum_tree(pieces);
    steps_per_piece = (steps + pieces - 1) / pieces;
    src_pixels = whole(s.n * s.h * s.w);
    image = Divider(s.p() * s.q());
    line = Divider(s.q());
    advance = advance_by(tile.threads() * chunk_of(problem.type) / tile.columns, whole(s.p()), whole(s.q()));
  }

 private:
  static constexpr int chunk_of(Element type) { return static_cast<int>(16 / size_of(type)); }
  FilterAdvance advance_by(int distance, int p, int q) const {
    FilterAdvance a;
    const int images = distance / (p * q), rest = distance % (p * q);
    a.w = rest % q * stride, a.h = rest / q * stride;
    a.line_w = q * stride, a.image_h = p * stride;
    a.pixel = (images * src_h + a.h) * src_w + a.w;
    a.next_line = stride * src_w - a.line_w;
    a.next_image = (src_h - a.image_h) * src_w;
    return a;
  }
};

}  // namespace residuum::kernels
