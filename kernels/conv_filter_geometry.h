// A convolution as the kernels of backward-filter see it: extents in 32 bits (check_conv makes sure that they
// fit), and how the sum over output pixels is cut. Plain C++.
#pragma once

#include "kernels/conv_tiles.h"
#include "kernels/device/divider.h"
#include "kernels/sum_tree.h"

namespace residuum::kernels {

/// Floats of the workspace that hold partial sums of tiles; those of a bias lie behind them.
constexpr int64_t filter_partial_floats(const ConvProblem& problem) {
  const Tile tile = tile_of(filter_tile(problem));
  return filter_tiles(problem).tiles * sum_tree(filter_pieces(problem)).slots * tile.rows * tile.columns;
}

/// How a tap's place in the source moves when its output pixel moves `pixels` further: so many columns, rows
/// and pixels; then, past the end of a line of output (`line_w` columns), or of an image (`image_h` rows), on
/// to the next one.
struct FilterAdvance {
  int w = 0, h = 0, line_w = 0, image_h = 0;
  int pixel = 0, next_line = 0, next_image = 0;
};

struct FilterGeometry {
  int src_h = 0, src_w = 0, src_c = 0, dst_c = 0;
  unsigned src_pitch = 0, dst_pitch = 0;  ///< bytes of a pixel
  int kernel_w = 0, stride = 1, pad = 0;
  int rows = 0, columns = 0, depth_c = 0;  ///< of one group: output channels; r*s*c; input channels
  int src_pixels = 0, pixels = 0, pieces = 1, steps_per_piece = 0;
  SumTree tree;           ///< of the pieces of one tile
  Divider image, line;    ///< by p*q, by q
  FilterAdvance advance;  ///< of the chunks of columns that a thread copies one after another

  FilterGeometry(const ConvProblem& problem, const Tile& tile) {
    const ConvShape& s = problem.shape;
    const auto whole = [](int64_t value) { return static_cast<int>(value); };
    src_h = whole(s.h), src_w = whole(s.w), src_c = whole(s.c), dst_c = whole(s.k);
    src_pitch = static_cast<unsigned>(s.c) * static_cast<unsigned>(size_of(problem.type));
    dst_pitch = static_cast<unsigned>(s.k) * static_cast<unsigned>(size_of(problem.type));
    kernel_w = whole(s.s), stride = whole(s.stride), pad = whole(s.pad);
    rows = whole(s.k / s.groups), depth_c = whole(s.c / s.groups);
    columns = whole(s.r * s.s) * depth_c;
    pixels = whole(s.n * s.p() * s.q());
    pieces = filter_pieces(problem);
    tree = sum_tree(pieces);
    const int steps = (pixels + tile.depth - 1) / tile.depth;
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
